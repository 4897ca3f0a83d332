import { attestationBuffer, fromHex, ghcb, toHex, vmsa } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestProgram } from '../guest-view.js';
import { expectSuccess, places } from '../testing/hypervisor.js';
import { idle, launched, type Running, resetVmsa, sharedPage } from '../testing/launched-guest.js';

describe('registers without SEV-ES', () => {
  it('are the host’s to see and to change at each exit (limit)', async () => {
    const seen: bigint[] = [];
    const { hypervisor, control } = await launched('sev', async (view) => {
      view.registers.rax = 0x5ec2e7n;
      await view.out(0x3f8, 0x41);
      seen.push(view.registers.rax);
    });
    const exit = await hypervisor.host.enter(control);
    expect(exit).toEqual({
      reason: 'ioio',
      port: 0x3f8,
      value: 0x41,
      saveArea: { rip: 0xfff1, rax: 0x5ec2e7n },
    });
    await hypervisor.host.enter({ ...control, saveArea: { rip: 0xfff1, rax: 0xbadn } });
    expect(seen).toEqual([0xbadn]);
  });
});

describe('registers with SEV-ES', () => {
  const secret = 0x1122_3344_5566_7788n;
  const keepsSecret: GuestProgram = async (view) => {
    view.registers.rbx = secret;
    for (let i = 0n; ; i++) {
      view.registers.rcx = i;
      await view.vmgexit(sharedPage);
    }
  };
  const readVmsa = (run: Running) => run.hypervisor.host.memory.read(places.vmsa, 4096);
  const writeVmsa = (run: Running, page: Uint8Array) => run.hypervisor.host.memory.write(places.vmsa, page);

  it('start from the VMSA that was measured', async () => {
    const page = resetVmsa();
    new DataView(page.buffer).setBigUint64(vmsa.offsetOf('rsp'), 0xabcn, true);
    const seen: bigint[] = [];
    const { hypervisor, control } = await launched(
      'sev-es',
      async (view) => void seen.push(view.registers.rdx, view.registers.rsp, BigInt(view.registers.rip)),
      { page },
    );
    await hypervisor.host.enter(control);
    expect(seen).toEqual([0xa00f11n, 0xabcn, 0xfff0n]);
  });

  it('are nowhere in what the host can see', async () => {
    const run = await launched('sev-es', keepsSecret);
    expect(await run.hypervisor.host.enter(run.control)).toEqual({
      reason: 'vmgexit',
      ghcbGuestAddress: sharedPage,
    });
    const pattern = toHex(fromHex('8877665544332211'));
    for (let at = 0; at < run.hypervisor.host.memory.size; at += 0x10_0000) {
      if (at === places.trusted) continue;
      expect(toHex(await run.hypervisor.host.memory.read(at, 0x10_0000))).not.toContain(pattern);
    }
  });

  it('survive exits, and the page changes at each', async () => {
    const seen: bigint[] = [];
    const run = await launched('sev-es', async (view) => {
      view.registers.rbx = secret;
      await view.vmgexit(sharedPage);
      seen.push(view.registers.rbx);
      await view.vmgexit(sharedPage);
    });
    await run.hypervisor.host.enter(run.control);
    const first = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    expect(seen).toEqual([secret]);
    expect(await readVmsa(run)).not.toEqual(first);
  });

  it('cannot be changed after launch: any bit in the protected part of the page makes VMRUN invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    await run.hypervisor.host.enter(run.control);
    const page = await readVmsa(run);
    for (const at of [0, 0x178, 0x1f8, 0x318, 0x380, 0x388, 0x3e8, 0x408, 0xfb0]) {
      const changed = page.slice();
      changed[at]! ^= 0x40;
      await writeVmsa(run, changed);
      expect(await run.hypervisor.host.enter(run.control)).toEqual({
        reason: 'invalid',
        detail: 'the integrity check of the VMSA failed',
      });
    }
    await writeVmsa(run, page);
    expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
  });

  it('cannot be put back: an older VMSA in its own place makes VMRUN invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    const atLaunch = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    const older = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    for (const replayed of [atLaunch, older]) {
      const latest = await readVmsa(run);
      await writeVmsa(run, replayed);
      expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'invalid' });
      await writeVmsa(run, latest);
      expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
    }
  });

  it('cannot be swapped: another vCPU’s VMSA, moved, or a page of zeros is invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    const other = places.vmsa + 0x1000;
    await run.hypervisor.host.memory.write(other, await readVmsa(run));
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    await run.hypervisor.host.memory.write(other, new Uint8Array(4096));
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    await run.hypervisor.host.memory.write(other, resetVmsa());
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
  });

  it('altered before launch change the measured digest', async () => {
    const honest = await launched('sev-es', idle, { finish: false });
    const altered = resetVmsa();
    altered[0x178]! ^= 0x10;
    const hostile = await launched('sev-es', idle, { page: altered, finish: false });
    const digestOf = async ({ hypervisor, handle }: Running) => {
      const request = { handle, address: BigInt(places.answer), mnonce: new Uint8Array(16), length: 0xd0 };
      expectSuccess(await hypervisor.call('ATTESTATION', [attestationBuffer, request]));
      return toHex(await hypervisor.host.memory.read(places.answer + 0x10, 32));
    };
    expect(await digestOf(hostile)).not.toBe(await digestOf(honest));
    expect(await digestOf(await launched('sev-es', idle, { finish: false }))).toBe(await digestOf(honest));
  });

  it('are exchanged through the GHCB only', async () => {
    const answers: bigint[] = [];
    const run = await launched('sev-es', async (view) => {
      await view.writeShared(sharedPage, ghcb.build({ rax: 7n }));
      await view.vmgexit(sharedPage);
      answers.push(ghcb.parse(await view.readShared(sharedPage, 4096)).rax);
    });
    await run.hypervisor.host.enter(run.control);
    await run.hypervisor.host.memory.write(places.ghcb, ghcb.build({ rax: 8n }));
    await run.hypervisor.host.enter(run.control);
    expect(answers).toEqual([8n]);
  });
});
