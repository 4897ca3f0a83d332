import { InvalidArgumentError, openSecret, systemRandom } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { longestTokenLifetime, makeAdminToken, tokenText } from './admin-tokens.js';

const wanted = { name: 'anna', roles: ['admin', 'auditor'], lifetime: 60_000 };
const making = { random: systemRandom, now: 1000 };

describe('a new token', () => {
  it('is kept as a digest from which nobody can make it', () => {
    const { token, stored } = makeAdminToken(wanted, making);
    const text = tokenText(token);
    expect(text).toMatch(new RegExp(`^vouchsafe_${stored.id}_[A-Za-z0-9_-]{43}$`));
    const { name, roles } = wanted;
    expect(stored).toMatchObject({ name, roles, createdAt: 1000, expiresAt: 61_000, revokedAt: undefined });
    expect(stored.digest).toHaveLength(32);
    const random = Buffer.from(text.slice(-43), 'base64url');
    expect(Buffer.from(stored.digest).equals(random)).toBe(false);
    expect(JSON.stringify(stored)).not.toContain(text.slice(-43));
    token.zero();
    expect(() => openSecret(token)).toThrow('zeroed');
  });

  it('may last for 90 days, and its name have 100 characters', () => {
    const longest = { ...wanted, name: 'é'.repeat(100), lifetime: longestTokenLifetime };
    expect(makeAdminToken(longest, making).stored.expiresAt).toBe(1000 + 90 * 86_400_000);
  });

  it.each([
    ['name', { name: '' }],
    ['name', { name: 'a'.repeat(101) }],
    ['name', { name: 'anna\u001b[2J' }],
    ['name', { name: 'anna\nbob' }],
    ['roles', { roles: [] }],
    ['roles', { roles: ['owner'] }],
    ['roles', { roles: ['admin', 'constructor'] }],
    ['lifetime', { lifetime: 0 }],
    ['lifetime', { lifetime: 1.5 }],
    ['lifetime', { lifetime: longestTokenLifetime + 1 }],
    ['lifetime', { lifetime: Number.NaN }],
  ])('is not made where its %s is another: %j', (argument, changes) => {
    const make = () => makeAdminToken({ ...wanted, ...changes }, making);
    expect(make).toThrow(InvalidArgumentError);
    expect(make).toThrow(expect.objectContaining({ argument }));
  });
});
