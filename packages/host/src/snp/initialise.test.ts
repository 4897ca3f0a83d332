import { snpPlatformStatus, snpShutdownExBuffer } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { softwareLauncher } from '../launch/software-launcher.js';
import { allocateHostMemory } from '../platform/host-memory.js';
import { withMailbox } from '../platform/mailbox.js';
import { assignedPages, reportOver, runGuest, snpConfiguration, snpMachine } from '../testing/snp-fixture.js';
import { flush, initialiseSnpWhenNeeded, readSnpPlatformStatus } from './initialise.js';
import { cpuidDifferences, cpuidPageOf } from './launch/cpuid-values.js';
import { takeBackPage, updatePage } from './pages.js';

const stateOf = async (host: Parameters<typeof readSnpPlatformStatus>[0]) =>
  snpPlatformStatus.parse(await readSnpPlatformStatus(host)).state;

describe('SEV-SNP on a machine', () => {
  test('is initialised once, whoever asks, and then guests can become active', async () => {
    const { host } = snpMachine();
    expect(await stateOf(host)).toBe('UNINIT');
    await Promise.all([initialiseSnpWhenNeeded(host), initialiseSnpWhenNeeded(host)]);
    expect(await stateOf(host)).toBe('INIT');
    const guest = await softwareLauncher(host).launchSnp(snpConfiguration);
    await initialiseSnpWhenNeeded(host);
    expect(await guest.information()).toMatchObject({ state: 'launch-update' });
    await guest.quit();
    expect(await assignedPages(host)).toEqual([]);
  });

  test('that was shut down is read and initialised again, and holds on to no more than one page', async () => {
    const machine = snpMachine();
    const { host } = machine;
    await initialiseSnpWhenNeeded(host);
    await withMailbox(host, async (mailbox) => {
      await flush(host, mailbox);
      await mailbox.run('SNP_SHUTDOWN_EX', snpShutdownExBuffer.build({ flags: { iommu: true, x86: false } }));
    });
    // The table is in force, and the firmware gives no page back before it is initialised.
    expect(await stateOf(host)).toBe('UNINIT');
    expect(await stateOf(host)).toBe('UNINIT');
    expect(await assignedPages(host)).toHaveLength(1);
    const { result } = await runGuest(machine, reportOver(new Uint8Array(64)));
    await result;
  });

  test('guests of SEV-ES and SEV-SNP do not take each other’s address space ids', async () => {
    const machine = snpMachine();
    const launcher = softwareLauncher(machine.host);
    const snp = await launcher.launchSnp(snpConfiguration);
    const { mode: _mode, policy: _policy, ...common } = snpConfiguration;
    const es = await launcher.launch({ ...common, mode: 'sev-es', policy: 5 });
    const second = await launcher.launchSnp(snpConfiguration);
    expect(new Set([snp.asid, es.asid, second.asid]).size).toBe(3);
    for (const guest of [snp, es, second]) await guest.quit();
  });
});

describe('pages', () => {
  test('that cannot change hands say why', async () => {
    const { host } = snpMachine();
    await initialiseSnpWhenNeeded(host);
    const { address, free } = allocateHostMemory(host, 0x1000);
    const guests = { assigned: true, immutable: true, asid: 1, guestAddress: 0x1000, size: '4K' } as const;
    await updatePage(host, address, guests);
    await expect(updatePage(host, address, guests)).rejects.toThrow(/FAIL_PERMISSION/);
    await expect(updatePage(host, 0x20_0000, { ...guests, size: '2M' })).rejects.toThrow(/FAIL_INPUT/);
    await takeBackPage(host, address);
    await takeBackPage(host, address);
    expect(await assignedPages(host)).toEqual([]);
    free();
  });
});

test('values of CPUID that the processor corrected are named', () => {
  const { host } = snpMachine();
  const given = cpuidPageOf(host, 0xa00f11);
  expect(cpuidDifferences(given, given)).toBe('');
  // The third and the fourth word of an entry are what it was asked with; EAX begins at 0x18.
  const corrected = given.slice();
  corrected[0x10 + 48 + 0x18] = 0x12;
  corrected[0x10 + 3 * 48 + 0x1c] = 0x33;
  expect(cpuidDifferences(given, corrected)).toBe(
    '0x1: EAX 0xa00f12 instead of 0xa00f11; 0x8000001f: EBX 0x33 instead of 0x73',
  );
});
