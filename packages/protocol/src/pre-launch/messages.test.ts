import { MalformedError, toBase64 } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Message } from '../message.js';
import { launchBundle, launchRequest, measurementEvidence, refusal, secretDelivery } from './messages.js';

const bytes = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
const launchId = '00112233445566778899aabbccddeeff';
const version = { apiMajor: 0, apiMinor: 24, buildId: 13 };
const platform = { pdh: bytes(0x824), certificateChain: bytes(0x186c, 2) };

const examples: Record<string, { message: Message<unknown>; value: Record<string, unknown> }> = {
  'launch request, case A': {
    message: launchRequest as Message<unknown>,
    value: { case: 'A', ...version, ...platform, chipId: bytes(64, 3) },
  },
  'launch request, case B': {
    message: launchRequest as Message<unknown>,
    value: { case: 'B', ...version, ...platform, certificateAuthority: bytes(3200, 4) },
  },
  'launch bundle': {
    message: launchBundle as Message<unknown>,
    value: {
      launchId,
      policy: 0x17_0005,
      mode: 'sev-es',
      godhCertificate: bytes(0x824),
      session: bytes(0x80),
      vcpus: [1, 2],
      vcpuSignatures: [0x00a00f11],
      expires: '2026-11-22T01:00:00.000Z',
    },
  },
  'measurement evidence': {
    message: measurementEvidence as Message<unknown>,
    value: { launchId, measurement: bytes(48), ...version, policy: 0xffff_ffff },
  },
  'secret delivery': {
    message: secretDelivery as Message<unknown>,
    value: { launchId, header: bytes(0x34), payload: bytes(64) },
  },
  refusal: {
    message: refusal as Message<unknown>,
    value: {
      reason: 'it differs',
      subject: 'launch measurement',
      root: { name: 'AMD, Milan', kind: 'amd', fingerprint: '569d' },
      checks: [
        {
          id: 'measurement.hmac',
          title: 'measurement',
          status: 'fail',
          kind: 'expectation',
          found: 'another',
        },
      ],
    },
  },
};

const refusedAt = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError);
    return (error as MalformedError).field;
  }
  throw new Error('it was accepted');
};

/** The path of every object inside a JSON value, its own included. */
function objectsWithin(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [];
  const inside = Object.entries(value).flatMap(([name, member]) => objectsWithin(member, [...path, name]));
  return Array.isArray(value) ? inside : [path, ...inside];
}

describe.each(Object.entries(examples))('%s', (_, { message, value }) => {
  const json = () => JSON.parse(JSON.stringify(message.toJson(value))) as Record<string, unknown>;

  it('reads back what it wrote', () => {
    expect(message.parse(json())).toEqual(value);
    expect(message.parseText(JSON.stringify(json()))).toEqual(value);
  });

  it('carries bytes as base64', () => {
    for (const [name, member] of Object.entries(value)) {
      if (member instanceof Uint8Array) expect(json()[name]).toBe(toBase64(member));
    }
  });

  it.each(Object.keys(value))('names %s when it is missing', (name) => {
    const { [name]: _removed, ...rest } = json();
    if (name !== 'root') expect(refusedAt(() => message.parse(rest))).toBe(`/${name}`);
  });

  it.each(Object.keys(value))('names %s when it is of another kind', (name) => {
    for (const wrong of [null, true, {}, -1, 1.5, 2 ** 32, '', '\u001b[2J']) {
      expect(
        refusedAt(() => message.parse({ ...json(), [name]: wrong })),
        JSON.stringify(wrong),
      ).toMatch(new RegExp(`^/${name}`));
    }
  });

  it('refuses a member that it does not have, and names it', () => {
    expect(refusedAt(() => message.parse({ ...json(), 'debug/me~': 1 }))).toBe('/debug~1me~0');
    expect(
      refusedAt(() => message.parse(JSON.parse(`{"__proto__": 1, ${JSON.stringify(json()).slice(1)}`))),
    ).toBe('/__proto__');
  });

  it('refuses one within its members too', () => {
    for (const path of objectsWithin(json())) {
      const changed = json();
      const inner = path.reduce((at, name) => at[name] as Record<string, unknown>, changed);
      inner['stranger'] = 1;
      expect(refusedAt(() => message.parse(changed))).toBe(['', ...path, 'stranger'].join('/'));
    }
  });

  it('refuses bytes of another length, in either direction', () => {
    for (const [name, member] of Object.entries(value)) {
      if (!(member instanceof Uint8Array)) continue;
      for (const wrong of [member.slice(1), new Uint8Array(member.length + 1), new Uint8Array(0)]) {
        expect(refusedAt(() => message.parse({ ...json(), [name]: toBase64(wrong) }))).toBe(`/${name}`);
        expect(refusedAt(() => message.toJson({ ...value, [name]: wrong }))).toBe(`/${name}`);
      }
    }
  });

  it('refuses base64 that is not canonical', () => {
    for (const [name, member] of Object.entries(value)) {
      if (!(member instanceof Uint8Array)) continue;
      const text = toBase64(member);
      for (const wrong of [`${text}\n`, text.replace(/=*$/, ''), text.replaceAll('/', '_'), ` ${text}`]) {
        if (wrong !== text)
          expect(refusedAt(() => message.parse({ ...json(), [name]: wrong }))).toBe(`/${name}`);
      }
    }
  });

  it('raises typed errors only, whatever it is given', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(value)), (anything, name) => {
        for (const input of [anything, { ...json(), [name]: anything }]) {
          try {
            message.parse(input);
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedError);
          }
        }
      }),
    );
  });
});

describe('messages', () => {
  it('never repeat what they were sent in an error', () => {
    const sent = 'c2VjcmV0LXZhbHVl';
    for (const work of [
      () => secretDelivery.parse({ launchId, header: sent, payload: sent }),
      () => secretDelivery.parseText(`{ "header": "${sent}" `),
      () => secretDelivery.parse({ launchId: sent, header: 1, payload: 2 }),
    ]) {
      expect(work).toThrow(MalformedError);
      expect(work).not.toThrow(sent);
    }
  });

  it('say of text that is not JSON just that', () => {
    for (const text of ['', '{', '\ufeff{}', "{'case': 'A'}"])
      expect(() => launchRequest.parseText(text)).toThrow('expected JSON, found text that is not JSON');
  });

  it('do not mix the two cases', () => {
    const { chipId: _chipId, ...rest } = launchRequest.toJson(
      examples['launch request, case A']!.value as never,
    ) as Record<string, unknown>;
    expect(
      refusedAt(() => launchRequest.parse({ ...rest, certificateAuthority: toBase64(bytes(3200)) })),
    ).toBe('/chipId');
    expect(refusedAt(() => launchRequest.parse({ ...rest, case: 'C' }))).toBe('/case');
  });

  it('take a secret packet up to 16 KiB in steps of 16 bytes', () => {
    const packet = (length: number) => ({ launchId, header: bytes(0x34), payload: bytes(length) });
    for (const length of [16, 32, 16384]) expect(secretDelivery.toJson(packet(length))).toBeTruthy();
    for (const length of [0, 8, 17, 16400])
      expect(refusedAt(() => secretDelivery.toJson(packet(length)))).toBe('/payload');
  });
});
