import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testAuthorityKeys } from '../../../../kds/src/testing/authority-keys.js';
import { build, runProcess } from '../../testing/process.js';
import { type ColdStarts, spreadOf } from './cold-starts.js';

/** Fifty in the exhaustive run. */
const starts = process.env['VOUCHSAFE_FULL'] === '1' ? 50 : 3;

/** Its roles are processes, so that the built command is run: once, under an authority whose keys are there already. */
describe(`demo containers, ${starts} cold starts`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-containers-'));
  let document: {
    readonly accepted: boolean;
    readonly image: { readonly layers: string[]; readonly matching: number; readonly readableByHost: number };
    readonly coldStarts: ColdStarts;
    readonly seen: readonly { readonly subject: string; readonly host: string; readonly guest: string }[];
  };
  beforeAll(async () => {
    await build();
    const authority = join(folder, 'authority');
    await openDevelopmentAuthority({
      folder: authority,
      generation: 'milan',
      generateKeys: testAuthorityKeys,
    });
    const words = ['demo', 'containers', '--starts', String(starts), '--authority', authority, '--json'];
    const { exit, stdout, stderr } = await runProcess(words);
    expect([exit, stderr]).toEqual([0, '']);
    document = JSON.parse(stdout) as typeof document;
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('attests every machine, in one round of the protocol each', () => {
    const { attested, rounds } = document.coldStarts;
    expect(document.accepted).toBe(true);
    expect([document.coldStarts.starts, attested, rounds]).toEqual([starts, starts, starts]);
  });

  it('asks the key service for what all machines share, and never after the first start', () => {
    const { keyService } = document.coldStarts;
    // The VCEK and its authorities for the host; authorities and lists of two kinds of keys for the broker.
    expect(keyService.beforeFirst).toBeGreaterThanOrEqual(6);
    expect(keyService.later).toBe(0);
  });

  it('measures the share of attestation in a cold start', () => {
    const { attestation, coldStart, share } = document.coldStarts;
    for (const { median, p99 } of [attestation, coldStart, share]) {
      expect(median).toBeGreaterThan(0);
      expect(p99).toBeGreaterThanOrEqual(median);
    }
    expect(share.p99).toBeLessThan(1);
    expect(attestation.median).toBeLessThan(coldStart.median);
  });

  it('opens every layer inside, and none in the hands of the host', () => {
    const { layers, matching, readableByHost } = document.image;
    expect([layers.length, matching, readableByHost]).toEqual([3, starts, 0]);
    for (const [index, digest] of layers.entries()) {
      expect(document.seen.find(({ subject }) => subject === `layer ${index}`)).toEqual({
        subject: `layer ${index}`,
        host: expect.stringMatching(/^ciphertext [0-9a-f]{24}$/),
        guest: `plain text, ${digest.slice(0, 23)}…`,
      });
    }
  });
});

describe('the spread of measured times', () => {
  it('is by nearest rank: values that were measured', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, p99: 3 });
    expect(spreadOf(Array.from({ length: 200 }, (_, i) => 200 - i))).toEqual({ median: 100, p99: 198 });
    expect(spreadOf([7])).toEqual({ median: 7, p99: 7 });
  });
});
