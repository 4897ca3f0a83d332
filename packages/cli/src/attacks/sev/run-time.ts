import type { GuestView, VmExit } from '@vouchsafe/firmware';
import { allocateHostMemory, type SoftwareVirtualMachine, withMailbox } from '@vouchsafe/host';
import {
  attestationReport,
  debugDecryptBuffer,
  equalBytes,
  p384KeyOf,
  parseSevCertificate,
  sevCertificate,
  toHex,
  verdict,
  verifyAttestationReport,
  vmsa,
} from '@vouchsafe/sev';
import type { Outcome, SevAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { processorOutcome } from '../outcome.js';
import { enter, finish, settled } from './hostile-host.js';
import { configurationOf, images, type Rig, type World } from './world.js';

/** The guest runs, and the host has all of its memory, as ciphertext, and every page table. */

const both = ['sev', 'sev-es'] as const;
const page = 4096;
/** A page that the guest calls its own, far from what its firmware uses. */
const ownPage = 0x10_0000;
const otherPage = 0x20_0000;
const fill = (byte: number) => new Uint8Array(page).fill(byte);

/** Launches a guest that runs `program` instead of its firmware, ready for the first VMRUN. */
async function running(world: World, rig: Rig, program: (view: GuestView) => Promise<void>) {
  const { vm } = await rig.launch(await world.owner());
  rig.machine.insertGuest(program);
  await finish(rig.host, vm);
  return vm;
}

function exitOutcome(exit: VmExit, otherwise: string): Outcome {
  return exit.reason === 'invalid'
    ? { refusedBy: 'CPU', at: 'VMEXIT_INVALID', evidence: exit.detail }
    : { refusedBy: 'nobody', at: otherwise, evidence: `VMRUN ended with ${exit.reason}` };
}

const vmsaAddressOf = (vm: SoftwareVirtualMachine) => {
  const [address] = vm.vmsaAddresses;
  if (address === undefined) throw new TypeError('a guest without SEV-ES has no VMSA');
  return address;
};

export const runTimeAttacks: readonly SevAttack[] = [
  {
    id: 'read-guest-memory',
    flow: 'run time',
    modes: both,
    title: 'The host reads the guest’s memory',
    refusedBy: 'harmless',
    at: 'ciphertext',
    async run(world, rig) {
      const vm = await running(world, rig, async (view) => {
        await view.writePrivate(ownPage, fill(0x41));
        await view.writePrivate(otherPage, fill(0x41));
        await view.halt();
      });
      await enter(rig.host, vm);
      const seen = await rig.host.memory.read(vm.memory.requireSystemAddress(ownPage, page), page);
      const same = await rig.host.memory.read(vm.memory.requireSystemAddress(otherPage, page), page);
      const hidden = !seen.includes(0x41, 0) || !equalBytes(seen, fill(0x41));
      return hidden && !equalBytes(seen, same)
        ? {
            refusedBy: 'harmless',
            at: 'ciphertext',
            evidence: `the host reads ${toHex(seen.subarray(0, 8))}…; the same plain text elsewhere is ${toHex(same.subarray(0, 8))}…`,
          }
        : { refusedBy: 'nobody', at: 'plain text', evidence: 'the host reads what the guest wrote' };
    },
  },
  {
    id: 'debug-decrypt',
    flow: 'run time',
    modes: both,
    title: 'The host asks the processor to decrypt a page with DBG_DECRYPT, under a policy with NODBG',
    refusedBy: 'processor',
    at: 'POLICY_FAILURE',
    async run(world, rig) {
      const vm = await running(world, rig, async (view) => view.halt());
      const target = allocateHostMemory(rig.host, page);
      const buffer = debugDecryptBuffer.build({
        handle: vm.handle,
        sourceAddress: BigInt(vm.memory.requireSystemAddress(ownPage, page)),
        destinationAddress: BigInt(target.address),
        length: page,
      });
      return processorOutcome('a page of the guest in plain text', () =>
        withMailbox(rig.host, ({ run }) => run('DBG_DECRYPT', buffer)),
      );
    },
  },
  {
    id: 'moved-ciphertext',
    flow: 'run time',
    modes: both,
    title: 'The host moves the ciphertext of a page to another address, where the guest reads it',
    refusedBy: 'harmless',
    at: 'noise',
    async run(world, rig) {
      let read: Uint8Array | undefined;
      const vm = await running(world, rig, async (view) => {
        await view.writePrivate(ownPage, fill(0x41));
        await view.halt();
        read = await view.readPrivate(otherPage, page);
        await view.halt();
      });
      await enter(rig.host, vm);
      const [from, to] = [ownPage, otherPage].map((address) => vm.memory.requireSystemAddress(address, page));
      await rig.host.memory.write(to!, await rig.host.memory.read(from!, page));
      await enter(rig.host, vm);
      return read !== undefined && !equalBytes(read, fill(0x41))
        ? {
            refusedBy: 'harmless',
            at: 'noise',
            evidence: `the guest reads ${toHex(read.subarray(0, 8))}… there, and crashes sooner or later`,
          }
        : {
            refusedBy: 'nobody',
            at: 'a page copied inside the guest',
            evidence: 'the guest reads the moved page',
          };
    },
  },
  {
    id: 'vmsa-changed-at-run-time',
    flow: 'run time',
    modes: ['sev-es'],
    title: 'The host changes the encrypted register state of a guest that runs',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(world, rig) {
      const vm = await running(world, rig, async (view) => view.halt());
      await enter(rig.host, vm);
      const address = vmsaAddressOf(vm);
      await rig.host.memory.write(
        address,
        flipped(await rig.host.memory.read(address, vmsa.size), vmsa.offsetOf('rip')),
      );
      return exitOutcome(
        await enter(rig.host, vm),
        'a guest that goes on with registers of the host’s making',
      );
    },
  },
  {
    id: 'vmsa-put-back',
    flow: 'run time',
    modes: ['sev-es'],
    title: 'The host puts an old register state back in place of the new one',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(world, rig) {
      const vm = await running(world, rig, async (view) => {
        view.registers.rbx = 1n;
        await view.halt();
        view.registers.rbx = 2n;
        await view.halt();
      });
      await enter(rig.host, vm);
      const address = vmsaAddressOf(vm);
      const old = await rig.host.memory.read(address, vmsa.size);
      await enter(rig.host, vm);
      await rig.host.memory.write(address, old);
      return exitOutcome(await enter(rig.host, vm), 'a guest that was set back');
    },
  },
  {
    id: 'kernel-swapped-after-measure',
    flow: 'run time',
    modes: both,
    title: 'The host measures the right kernel and hands the guest another one when it boots',
    refusedBy: 'guest',
    at: 'boot-refused',
    async run(world, rig) {
      const owner = await world.owner();
      const kernel = images.kernel.slice();
      const { directBoot } = configurationOf((await rig.launch(owner)).bundle);
      const { vm, evidence } = await rig.launch(owner, { directBoot: { ...directBoot!, kernel } });
      const { delivery } = await owner.appraiseMeasurement(evidence);
      if (delivery === undefined) throw new TypeError('the owner refused an honest launch');
      await vm.injectSecret(delivery);
      kernel[0] = kernel[0]! ^ 1;
      const end = settled(vm);
      await vm.resume();
      await end;
      const { failure, diskKey } = rig.guest;
      return failure?.startsWith('boot refused: kernel') && diskKey === undefined
        ? { refusedBy: 'guest', at: 'boot-refused', evidence: failure }
        : { refusedBy: 'nobody', at: 'a kernel that nobody measured', evidence: 'the guest booted it' };
    },
  },
  {
    id: 'old-page-put-back',
    flow: 'run time',
    modes: both,
    title: 'The host keeps the ciphertext of a page and puts it back in place later',
    refusedBy: 'nobody',
    at: 'the guest reads old data as if it were new',
    limit: {
      why: 'memory encryption of SEV and SEV-ES has no freshness: old ciphertext at its own address decrypts to old plain text',
      caughtBy:
        'SEV-SNP: its reverse map table refuses the host’s write; until then, nothing in memory that must not be set back can be relied on',
    },
    async run(world, rig) {
      let read: Uint8Array | undefined;
      const vm = await running(world, rig, async (view) => {
        await view.writePrivate(ownPage, fill(1));
        await view.halt();
        await view.writePrivate(ownPage, fill(2));
        await view.halt();
        read = await view.readPrivate(ownPage, page);
        await view.halt();
      });
      await enter(rig.host, vm);
      const address = vm.memory.requireSystemAddress(ownPage, page);
      const old = await rig.host.memory.read(address, page);
      await enter(rig.host, vm);
      await rig.host.memory.write(address, old);
      await enter(rig.host, vm);
      return read !== undefined && equalBytes(read, fill(1))
        ? {
            refusedBy: 'nobody',
            at: 'the guest reads old data as if it were new',
            evidence: 'the guest wrote 2, and reads the 1 that it had written before',
          }
        : { refusedBy: 'harmless', at: 'noise', evidence: 'the old page did not decrypt' };
    },
  },
  {
    id: 'pages-remapped',
    flow: 'run time',
    modes: both,
    title: 'The host exchanges two pages of the guest in the nested page table',
    refusedBy: 'nobody',
    at: 'the guest reads one page at the address of the other',
    limit: {
      why: 'the encryption is tweaked by the system physical address, which does not change when the host maps a page elsewhere in the guest',
      caughtBy: 'SEV-SNP: the reverse map table holds the guest address of each page',
    },
    async run(world, rig) {
      let read: Uint8Array | undefined;
      const vm = await running(world, rig, async (view) => {
        await view.writePrivate(ownPage, fill(1));
        await view.writePrivate(otherPage, fill(2));
        await view.halt();
        read = await view.readPrivate(ownPage, page);
        await view.halt();
      });
      await enter(rig.host, vm);
      const remapped = {
        guestAddress: ownPage,
        systemAddress: vm.memory.requireSystemAddress(otherPage, page),
        length: page,
      };
      await enter(rig.host, vm, [remapped, ...vm.memory.nestedPages]);
      return read !== undefined && equalBytes(read, fill(2))
        ? {
            refusedBy: 'nobody',
            at: 'the guest reads one page at the address of the other',
            evidence: 'the guest wrote 1 there, and reads the 2 of another page',
          }
        : { refusedBy: 'harmless', at: 'noise', evidence: 'the guest did not read the other page' };
    },
  },
  {
    id: 'registers-read-and-changed',
    flow: 'run time',
    modes: ['sev'],
    title: 'The host reads and changes the guest’s registers at an exit',
    refusedBy: 'nobody',
    at: 'the host’s value in the guest’s register',
    limit: {
      why: 'SEV without ES encrypts memory and not registers: they lie open in the VMCB at each exit',
      caughtBy: 'SEV-ES: a policy with the ES bit, which the measurement covers',
    },
    async run(world, rig) {
      let found: bigint | undefined;
      const vm = await running(world, rig, async (view) => {
        view.registers.rax = 0x5ec2e7n;
        await view.halt();
        found = view.registers.rax;
        await view.halt();
      });
      const exit = await enter(rig.host, vm);
      const seen = exit.reason === 'hlt' ? exit.saveArea?.rax : undefined;
      const { asid, memory } = vm;
      const rip = exit.reason === 'hlt' ? (exit.saveArea?.rip ?? 0) : 0;
      await rig.host.enter({ asid, nestedPages: memory.nestedPages, saveArea: { rip, rax: 0xbadn } });
      return seen === 0x5ec2e7n && found === 0xbadn
        ? {
            refusedBy: 'nobody',
            at: 'the host’s value in the guest’s register',
            evidence: `the host read 0x${seen.toString(16)} in RAX, and the guest went on with 0x${found.toString(16)}`,
          }
        : { refusedBy: 'harmless', at: 'nothing', evidence: 'the registers were out of reach' };
    },
  },
  {
    id: 'report-for-the-host',
    flow: 'run time',
    modes: both,
    title: 'The host itself asks for an attestation report over a nonce that was meant for the guest',
    refusedBy: 'nobody',
    at: 'a genuine report that says nothing of who asked',
    limit: {
      why: 'ATTESTATION is a command of the host: the report proves what was launched, not that the guest asks',
      caughtBy:
        'a secret that only the guest was given at launch; SEV-SNP, whose guests ask over a channel of their own',
    },
    async run(world, rig) {
      const { vm } = await rig.launch(await world.owner());
      const mnonce = new Uint8Array(16).fill(7);
      const report = attestationReport.parse(await vm.attestationReport(mnonce));
      const pek = parseSevCertificate(rig.request.certificateChain.slice(0, sevCertificate.size));
      const appraisal = await verifyAttestationReport(report.raw, p384KeyOf(pek), {
        mnonce,
        policy: world.policy,
      });
      return verdict(appraisal).accepted
        ? {
            refusedBy: 'nobody',
            at: 'a genuine report that says nothing of who asked',
            evidence: 'the report verifies under the PEK, with the host’s nonce',
          }
        : { refusedBy: 'processor', at: 'no report', evidence: 'the report does not verify' };
    },
  },
];
