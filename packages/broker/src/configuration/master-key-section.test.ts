import { describe, expect, it } from 'vitest';
import { configurationText, type MasterKeyPlace, parseBrokerConfiguration } from './configuration.js';
import { withMasterKey } from './master-key-section.js';

const first = configurationText({ listen: '127.0.0.1:8080', database: 'sqlite:broker.db' });
const vault = {
  vault: { address: 'https://v.example', key: 'a/b', mount: 'm', 'token-environment': 'VAULT_TOKEN' },
};
const places: readonly MasterKeyPlace[] = [{ file: 'a "new" one.key' }, { environment: 'KEY_2' }, vault];

/** The same set-up with its master key written another way. */
const written = (section: string) => {
  const [before, after] = first.split(/\[master-key\]\n.*\nfile = "master.key"\n/);
  return `${before}${section}${after}`;
};
const top = (line: string) => `${line}\n${written('')}`;

describe('another master key in broker.toml', () => {
  it.each<[string, string]>([
    ['as `broker init` writes it', first],
    ['with the ends of lines of another system', first.replaceAll('\n', '\r\n')],
    [
      'a section for Vault',
      written('[ master-key . vault ] # there\naddress = "a"\nkey = "k"\ntoken-environment = "T"\n'),
    ],
    [
      'a section with an inline table',
      written('[master-key]\nvault = { address = "a", key = "k", token-environment = "T" }\n'),
    ],
    ['an inline table', top('master-key = { file = "master.key" }')],
    ['a dotted key', top('master-key.file = "master.key"')],
    [
      'dotted keys for Vault',
      top(
        'master-key.vault.address = "a"\nmaster-key.vault.key = "k"\nmaster-key.vault.token-environment = "T"',
      ),
    ],
  ])('%s: it alone is changed', (_name, text) => {
    const before = parseBrokerConfiguration(text);
    for (const place of places) {
      const changed = withMasterKey(text, place, 'broker.toml');
      expect(parseBrokerConfiguration(changed)).toEqual({ ...before, 'master-key': place });
      const comments = (of: string) => of.split('\n').filter((line) => line.startsWith('#'));
      expect(comments(changed)).toEqual(comments(text));
      expect(withMasterKey(changed, before['master-key'], 'broker.toml')).not.toContain('a "new" one');
    }
  });

  it('stands where the other stood', () => {
    const changed = withMasterKey(first, { file: 'two.key' }, 'broker.toml');
    expect(changed).toBe(first.replace('"master.key"', '"two.key"'));
  });

  it.each([top('"master-key" = { file = "master.key" }'), top('master-key.file = """\nmaster.key"""')])(
    'written in a way that cannot be told from the rest, it is left alone: %j',
    (text) => {
      parseBrokerConfiguration(text);
      const refused = () => withMasterKey(text, { environment: 'KEY' }, 'broker.toml');
      expect(refused).toThrow('cannot find where it names the master key');
    },
  );

  it('cannot be a name that TOML cannot write', () => {
    expect(() => withMasterKey(first, { file: 'a\u007f' }, 'broker.toml')).toThrow('cannot find');
  });
});
