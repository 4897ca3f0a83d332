import type { HostMachine } from '@vouchsafe/firmware';
import {
  concat,
  guestMessageHeader,
  guestMessageSize,
  idAuthentication,
  idBlock,
  type SnpCommandName,
  snpCommandName,
  snpGuestRequestBuffer,
  snpLaunchFinishBuffer,
  snpLaunchUpdateBuffer,
  snpPageSize,
  snpPageTypes,
} from '@vouchsafe/sev';
import type { Narrator } from '../narration.js';

/** Tells of a SEV-SNP launch on its way through the mailbox, and of the messages that guest and processor exchange. */
export function narratedSnpMailbox(machine: HostMachine, narrate: Narrator): HostMachine {
  const read = (address: number | bigint, length: number) => machine.memory.read(Number(address), length);
  let pages: { readonly type: number; readonly contents: Uint8Array[] } | undefined;

  /** Pages come one by one; those of one kind are told together. */
  async function tellPages(): Promise<void> {
    if (pages === undefined) return;
    const { type, contents } = pages;
    pages = undefined;
    const count = contents.length === 1 ? 'a page' : `${contents.length} pages`;
    const what = `SNP_LAUNCH_UPDATE: ${count}, ${titleOf(type, contents.length)}`;
    await narrate.message('host', 'processor', what, concat(...contents));
  }

  async function tellCommand(command: SnpCommandName | undefined, bufferAddress: number): Promise<void> {
    if (command === 'SNP_LAUNCH_UPDATE') {
      const { page, pageAddress } = await parsed(snpLaunchUpdateBuffer, bufferAddress);
      if (pages?.type !== page.type) await tellPages();
      pages ??= { type: page.type, contents: [] };
      pages.contents.push(await read(pageAddress, snpPageSize));
      return;
    }
    await tellPages();
    if (command === 'SNP_LAUNCH_FINISH') {
      const { flags, idBlockAddress, idAuthAddress } = await parsed(snpLaunchFinishBuffer, bufferAddress);
      if (!flags.idBlock) {
        const buffer = await read(bufferAddress, snpLaunchFinishBuffer.size);
        return narrate.message('host', 'processor', 'SNP_LAUNCH_FINISH without an ID block', buffer);
      }
      const block = await read(idBlockAddress, idBlock.size);
      const authentication = await read(idAuthAddress, idAuthentication.size);
      const content = concat(block, authentication);
      await narrate.message('host', 'processor', 'SNP_LAUNCH_FINISH with the owner’s ID block', content);
    }
    if (command === 'SNP_GUEST_REQUEST') {
      const { requestAddress } = await parsed(snpGuestRequestBuffer, bufferAddress);
      await tellMessage('guest', 'processor', requestAddress);
    }
  }

  async function tellResult(command: SnpCommandName | undefined, bufferAddress: number): Promise<void> {
    if (command === 'SNP_LAUNCH_START') {
      await narrate.step(
        'processor',
        'SNP_LAUNCH_START: draws the keys of the guest, under the owner’s policy',
      );
    }
    if (command === 'SNP_ACTIVATE') {
      await narrate.step(
        'host',
        'SNP_ACTIVATE: gives the guest an address space id, which names its memory key',
      );
    }
    if (command === 'SNP_LAUNCH_FINISH') {
      const { flags } = await parsed(snpLaunchFinishBuffer, bufferAddress);
      if (flags.idBlock)
        await narrate.step('processor', 'the guest is the one that its owner signed', 'accepted');
      else await narrate.step('processor', 'the launch digest is final: it stands in every report');
    }
    if (command === 'SNP_GUEST_REQUEST') {
      const { responseAddress } = await parsed(snpGuestRequestBuffer, bufferAddress);
      await tellMessage('processor', 'guest', responseAddress);
    }
  }

  async function tellMessage(from: 'guest' | 'processor', to: 'guest' | 'processor', address: bigint) {
    const content = await read(address, guestMessageSize);
    const { type } = guestMessageHeader.parseAt(content, 0);
    await narrate.message(from, to, `MSG_${type}, carried by the host`, content, 'guest and processor');
  }

  async function parsed<T>(
    layout: { readonly size: number; parse(bytes: Uint8Array): T },
    address: number,
  ): Promise<T> {
    return layout.parse(await read(address, layout.size));
  }

  return {
    ...machine,
    async submit(commandId, bufferAddress) {
      const command = snpCommandName(commandId);
      await tellCommand(command, bufferAddress);
      const status = await machine.submit(commandId, bufferAddress);
      if (status === 0) await tellResult(command, bufferAddress);
      return status;
    },
  };
}

/** The firmware's image is many pages; the other page with contents that the host loads is that of QEMU's hashes table. */
function titleOf(type: number, count: number): string {
  if (type === snpPageTypes.NORMAL)
    return count > 1 ? 'the firmware image' : 'hashes of kernel, initrd and command line';
  return titles.get(type) ?? `type ${type}`;
}

const titles: ReadonlyMap<number, string> = new Map([
  [snpPageTypes.VMSA, 'first register state of a vCPU'],
  [snpPageTypes.ZERO, 'empty'],
  [snpPageTypes.UNMEASURED, 'not measured'],
  [snpPageTypes.SECRETS, 'for the processor to put keys for guest messages into'],
  [snpPageTypes.CPUID, 'CPUID values, which the processor checks'],
]);
