import * as protocol from '@vouchsafe/protocol';
import * as sev from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { hasVectors, vectors } from '../../../packages/sev/src/testing/vectors.js';
import { messagesOf, parserNamesOf } from '../exports.js';
import { mutatedInputs, timeoutMs } from './amount.js';
import { parserReaders } from './readers.js';
import { fuzz } from './run.js';

/** Real inputs, where there are any, beside those that our own builders make. */
const generations = ['naples', 'rome', 'milan', 'genoa', 'turin'];
const realInputs: Record<string, readonly string[]> = {
  parseSevCertificate: ['pdh', 'pek', 'oca', 'cek'].map((name) => `sev/naples/${name}.cert`),
  parseAmdCaCertificate: generations.flatMap((name) => [
    `sev/ca/${name}/ark.cert`,
    `sev/ca/${name}/ask.cert`,
  ]),
  parseSnpReport: ['milan-v2-idblock', 'milan-v3-vlek-aws', 'genoa-v5-siena', 'turin-v5-azure'].map(
    (name) => `snp/reports/${name}.bin`,
  ),
  findSnpReport: ['messages/msg-report-rsp-v2.bin', 'evidence/azure-hcl-report.bin'].map(
    (name) => `snp/${name}`,
  ),
  parseCertificateTable: ['snp/evidence/genoa-v3-tsm.auxblob.bin'],
  parseIdBlock: ['snp/idblock/virtee.id-block.bin'],
  parseIdAuthentication: ['snp/idblock/virtee.id-auth.bin'],
  parseFirmwareFooter: ['sev/ovmf/OVMF.amdsev.el9-trimmed.bin', 'sev/ovmf/ovmf_AmdSev_suffix.bin'],
};

const readers = parserReaders().map((reader) => {
  const names = hasVectors ? (realInputs[reader.name] ?? []) : [];
  return { ...reader, seeds: [...reader.seeds, ...names.map(vectors)] };
});

describe('the list of readers', () => {
  it('holds every exported parser, and valid inputs for each', () => {
    const listed = readers.map((reader) => reader.name);
    const exported = [
      ...parserNamesOf(sev),
      ...parserNamesOf(protocol),
      ...messagesOf(protocol).map(([name]) => name),
    ];
    expect(exported.filter((name) => !listed.includes(name))).toEqual([]);
    expect(readers.filter((reader) => reader.seeds.length === 0).map((reader) => reader.name)).toEqual([]);
    expect(new Set(listed).size).toBe(listed.length);
  });
});

describe(`${mutatedInputs} mutated inputs: no crash, no hang, typed errors only`, () => {
  it.each(readers.map((reader) => [reader.name, reader] as const))(
    '%s',
    { timeout: timeoutMs },
    async (_name, reader) => {
      const { accepted, refused } = await fuzz(reader, mutatedInputs);
      expect(accepted + refused).toBe(mutatedInputs);
      expect(refused, 'nothing was refused').toBeGreaterThan(0);
      expect(accepted, 'nothing was accepted').toBeGreaterThan(0);
    },
  );
});
