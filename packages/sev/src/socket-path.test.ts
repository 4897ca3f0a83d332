import { expect, test } from 'vitest';
import { InvalidArgumentError } from './errors.js';
import { requireSocketPath } from './socket-path.js';

test.each(['', '/tmp/a\0b', 'x'.repeat(108), 'é'.repeat(54)])('%j is no path of a socket', (path) => {
  expect(() => requireSocketPath(path, 'agent')).toThrow(InvalidArgumentError);
});

test.each(['/run/x.sock', 'x'.repeat(107), 'é'.repeat(53)])('%j is one', (path) => {
  expect(requireSocketPath(path, 'agent')).toBe(path);
});

test('a path that is too long is told with its length and whose it is', () => {
  expect(() => requireSocketPath('x'.repeat(108), 'agent')).toThrow(
    /^agent: .* 1 to 107 bytes .* one of 108$/,
  );
});
