import { beforeAll, expect, test } from 'vitest';
import {
  generateCaKey,
  generatePlatformKeys,
  makeAuthority,
  makePlatform,
} from '../testing/development-platform.js';
import type { PlatformChain } from './bundle.js';
import { certificateLine, summarizeCertificate, summarizeChain } from './certificate-summary.js';

let chain: Required<PlatformChain>;

beforeAll(async () => {
  const authority = await makeAuthority('naples', generateCaKey(2048), generateCaKey(2048));
  chain = await makePlatform(authority, await generatePlatformKeys());
});

test('a chain is summarised from the PDH to the ARK', async () => {
  const summaries = await summarizeChain(chain);
  expect(summaries.map(({ name }) => name)).toEqual([
    'PDH',
    'PEK',
    'OCA',
    'CEK',
    'CEK',
    'Vouchsafe Development ASK, Naples',
    'Vouchsafe Development ARK, Naples',
  ]);
  expect(summaries.map(certificateLine).map((line) => line.replace(/[0-9a-f]{64}/, '…'))).toEqual([
    'PDH EP384 D256 …',
    'PEK EP384 E256 …',
    'OCA EP384 E256 …',
    'CEK EP384 E256 …',
    'CEK EP384 E256 …',
    'ASK R2048 R256 …',
    'ARK R2048 R256 …',
  ]);
  expect(await summarizeChain({})).toEqual([]);
});

test('fields show what stands in the key and in the slots', async () => {
  const { fields } = await summarizeCertificate(chain.cek);
  const row = (name: string) => fields.find((each) => each.name === name);
  expect(row('usage')).toMatchObject({ offset: 8, value: 'CEK (0x1004)' });
  expect(row('publicKey.curve')).toMatchObject({ offset: 0x10, value: '2' });
  expect(row('publicKey.x')?.offset).toBe(0x14);
  expect(row('signature1.usage')).toMatchObject({ offset: 0x414, value: 'ASK (0x13)' });
  expect(row('signature1.value')).toMatchObject({ offset: 0x41c, size: 512 });
  expect(row('signature2.usage')?.value).toBe('INVALID (0x1000)');
  expect(row('signature2.value')).toBeUndefined();
  const pek = (await summarizeCertificate(chain.pek)).fields.map(({ name }) => name);
  expect(pek).toContain('signature2.s');
});
