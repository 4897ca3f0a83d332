import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { expect, onTestFinished, test } from 'vitest';
import { testAuthorityKeys } from '../../../../kds/src/testing/authority-keys.js';
import { build, runProcess } from '../../testing/process.js';

test('demo boot: the disk opens for what was measured, and not where one byte of the initrd is another', async () => {
  await build();
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-boot-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const authority = join(folder, 'authority');
  await openDevelopmentAuthority({ folder: authority, generation: 'milan', generateKeys: testAuthorityKeys });
  const { exit, stdout, stderr } = await runProcess(['demo', 'boot', '--authority', authority, '--json']);
  expect([exit, stderr]).toEqual([0, '']);
  const { accepted, boots } = JSON.parse(stdout) as { accepted: boolean; boots: unknown[] };
  expect(accepted).toBe(true);
  const refusedAt = (at: string) => ({ unlocked: false, refused: { by: 'owner', at } });
  expect(boots).toEqual([
    { mode: 'snp', changedInitrd: false, unlocked: true },
    { mode: 'snp', changedInitrd: true, ...refusedAt('release-refused') },
    { mode: 'sev-es', changedInitrd: false, unlocked: true },
    { mode: 'sev-es', changedInitrd: true, ...refusedAt('measurement.digest') },
  ]);
}, 300_000);
