import { describe, expect, it } from 'vitest';
import { run, runJson } from '../../testing/run.js';

interface Document {
  readonly policy: number | string;
  readonly hex: string;
  readonly kind: 'SEV' | 'SEV-SNP';
  readonly statements: readonly { readonly label: string; readonly concern: string }[];
}

const explain = async (...words: string[]) =>
  (await runJson<Document>(['policy', 'explain', ...words])).document;

describe('policy explain', () => {
  it('tells policies of SEV and of SEV-SNP apart', async () => {
    for (const [word, kind] of [
      ['0x1', 'SEV'],
      ['0x2f', 'SEV'],
      ['0x37010001', 'SEV'],
      ['0xffffffff', 'SEV-SNP'],
      ['0x30000', 'SEV-SNP'],
      ['0x20000', 'SEV-SNP'],
      ['196608', 'SEV-SNP'],
      ['0x3001f', 'SEV-SNP'],
      ['0x100000000', 'SEV-SNP'],
    ] as const)
      expect([word, (await explain(word)).kind]).toEqual([word, kind]);
    expect((await explain('0x30000', '--sev')).kind).toBe('SEV');
    expect((await explain('0x1', '--snp')).kind).toBe('SEV-SNP');
  });

  it('says what a policy of SEV-SNP leaves open', async () => {
    const open = async (word: string) =>
      (await explain(word)).statements.filter(({ concern }) => concern === 'open').map(({ label }) => label);
    expect(await open('0xb0000')).toContain('DEBUG');
    expect(await open('0x30000')).not.toContain('DEBUG');
    const { stdout } = await run(['policy', 'explain', '0xb0000']);
    expect(stdout).toMatch(/^SEV-SNP policy 0xb0000 \(720896\)\n/);
    expect(stdout).toMatch(/^DEBUG +yes +open +the host can read and change/m);
  });

  it('keeps every digit of wide words', async () => {
    const { policy, hex, statements } = await explain('0xffffffffffffffff');
    expect([policy, hex]).toEqual(['18446744073709551615', '0xffffffffffffffff']);
    expect(statements.map(({ label }) => label)).toContain('bit 63');
    expect((await explain('0x30000')).policy).toBe(0x30000);
  });

  it.each([
    ['0x10000000000000000'],
    ['18446744073709551616'],
    ['-1'],
    ['1.5'],
    ['x'],
    ['0x100000000', '--sev'],
    ['0x1', '--sev', '--snp'],
  ])('does not take %s %s', async (...words) => {
    const { exit, stdout } = await run(['policy', 'explain', ...words]);
    expect([exit, stdout]).toEqual([2, '']);
  });
});
