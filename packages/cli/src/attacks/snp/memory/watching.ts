import { equalBytes, toHex } from '@vouchsafe/sev';
import type { SnpAttack } from '../../attack.js';
import { nextEntry } from '../meddling.js';
import { fill, otherPage, ownPage, pageSize, placeOf, withPages } from './pages.js';

/** What the host learns of a guest's memory without touching it. */

const modes = ['snp'] as const;

export const watchingAttacks: readonly SnpAttack[] = [
  {
    id: 'ciphertext-watched',
    flow: 'memory',
    modes,
    title: 'The host compares the ciphertext of a page over time',
    refusedBy: 'nobody',
    at: 'when the guest writes, and when it writes the same as before',
    limit: {
      why: 'the same plain text at the same address is the same ciphertext under one key, and the host may read it',
      caughtBy:
        'a verifier who demands CIPHERTEXT_HIDING_DRAM in the policy (`policy.ciphertext-hiding`, Turin and later); constant-time code does not suffice, secrets in memory must be masked anew at each write',
    },
    async run(_world, rig) {
      const { vm, view } = await withPages(rig);
      const watch = () => rig.host.memory.read(placeOf(vm, ownPage), pageSize);
      const first = await watch();
      await view.writePrivate(ownPage, fill(0x44));
      const second = await watch();
      await view.writePrivate(ownPage, fill(0x41));
      const third = await watch();
      const learned = !equalBytes(first, second) && equalBytes(first, third);
      return {
        refusedBy: learned ? 'nobody' : 'harmless',
        at: learned ? 'when the guest writes, and when it writes the same as before' : 'nothing to compare',
        evidence: `the host sees ${[first, second, third].map((each) => `${toHex(each.subarray(0, 4))}…`).join(', then ')}`,
      };
    },
  },
  {
    id: 'accesses-watched',
    flow: 'memory',
    modes,
    title: 'The host unmaps pages of the guest’s, to learn which of them it uses and when',
    refusedBy: 'nobody',
    at: 'the guest’s accesses, page by page and in order',
    limit: {
      why: 'the nested page table is the host’s, and a fault names the page that it is about',
      caughtBy: 'nobody: code that handles secrets must use memory in the same way whatever they are',
    },
    async run(_world, rig) {
      const booted = await withPages(rig);
      const hidden = new Set([ownPage, otherPage]);
      const seen: number[] = [];
      rig.interference.entry = (control) => ({
        ...control,
        nestedPages: control.nestedPages.flatMap((row) => withoutPages(row, hidden)),
      });
      rig.interference.exit = (exit) => {
        if (exit.reason !== 'npf') return exit;
        seen.push(exit.guestAddress);
        hidden.delete(exit.guestAddress - (exit.guestAddress % pageSize));
        // Its honest part would take the fault for one of the guest's.
        return { reason: 'npf', guestAddress: exit.guestAddress, violation: nothingWrong };
      };
      await nextEntry(booted);
      await booted.view.readPrivate(otherPage, 16);
      await booted.view.readPrivate(ownPage, 16);
      const learned = seen[0] === otherPage && seen[1] === ownPage;
      return {
        refusedBy: learned ? 'nobody' : 'harmless',
        at: learned ? 'the guest’s accesses, page by page and in order' : 'no order',
        evidence: `faults at ${seen.map((each) => `0x${each.toString(16)}`).join(', ')}; the guest noticed nothing`,
      };
    },
  },
];

const nothingWrong = { write: false, encrypted: true, sizeMismatch: false, vmpl: false };

type Row = { readonly guestAddress: number; readonly systemAddress: number; readonly length: number };

function withoutPages(row: Row, hidden: ReadonlySet<number>): Row[] {
  const cuts = [...hidden]
    .filter((at) => at >= row.guestAddress && at < row.guestAddress + row.length)
    .toSorted((a, b) => a - b);
  const rows: Row[] = [];
  let from = row.guestAddress;
  const end = row.guestAddress + row.length;
  for (const to of [...cuts, end]) {
    const systemAddress = row.systemAddress + (from - row.guestAddress);
    if (to > from) rows.push({ guestAddress: from, systemAddress, length: to - from });
    from = to + pageSize;
  }
  return rows;
}
