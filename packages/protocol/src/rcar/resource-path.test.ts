import { MalformedError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { parseResourceAddress, parseResourcePath, resourcePathText } from './resource-path.js';

describe('a resource path', () => {
  it.each(['default/key/1', '_a/-b/c..d', 'a/b/.'.replace('/.', '/c.')])('%s is read', (text) => {
    expect(resourcePathText(parseResourcePath(text))).toBe(text);
    expect(parseResourceAddress(`kbs:///${text}`)).toEqual(parseResourcePath(text));
  });

  it.each<[string, string]>([
    ['', 'path'],
    ['a/b', 'path'],
    ['a/b/c/d', 'path'],
    ['/a/b/c', 'path'],
    ['a/b/c/', 'path'],
    ['a//c', 'type'],
    ['../b/c', 'repository'],
    ['a/../c', 'type'],
    ['a/b/.c', 'tag'],
    ['a/b/%2e%2e', 'tag'],
    ['a/b/c?x=1', 'tag'],
    ['a/b/c#x', 'tag'],
    ['a/b\\c/d', 'type'],
    ['a/b/c\0', 'tag'],
    ['a/b/c\n', 'tag'],
    ['a b/c/d', 'repository'],
    ['é/b/c', 'repository'],
    [`${'a'.repeat(129)}/b/c`, 'repository'],
  ])('%j is refused at its %s', (text, field) => {
    for (const read of [() => parseResourcePath(text), () => parseResourceAddress(`kbs:///${text}`)]) {
      expect(read).toThrow(MalformedError);
      try {
        read();
      } catch (error) {
        expect((error as MalformedError).field).toBe(field);
      }
    }
  });

  it.each(['a/b/c', 'kbs://host/a/b/c', 'kbs:/a/b/c', 'http:///a/b/c', 'KBS:///a/b/c'])(
    '%s is no address',
    (text) => {
      expect(() => parseResourceAddress(text)).toThrow('an address that begins with kbs:///');
    },
  );
});
