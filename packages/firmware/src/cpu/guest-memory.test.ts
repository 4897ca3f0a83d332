import { equalBytes, toHex } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestView } from '../guest-view.js';
import { places } from '../testing/hypervisor.js';
import { idle, image, launched, nestedPages, sharedPage } from '../testing/launched-guest.js';

describe('a guest’s memory', () => {
  it('is plaintext inside and ciphertext outside; shared pages are plaintext for both', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      seen.push(await view.readPrivate(3, 40));
      await view.writePrivate(0x4003, image.subarray(0, 40));
      await view.writeShared(sharedPage + 5, image.subarray(0, 40));
      await view.vmgexit(sharedPage);
      seen.push(await view.readShared(sharedPage, 4));
    });
    await hypervisor.host.enter(control);
    const { memory } = hypervisor.host;
    expect(equalBytes(await memory.read(places.image + 0x4003, 40), image.subarray(0, 40))).toBe(false);
    expect(await memory.read(places.ghcb + 5, 40)).toEqual(image.slice(0, 40));
    await memory.write(places.ghcb, Uint8Array.of(1, 2, 3, 4));
    await hypervisor.host.enter(control);
    expect(seen).toEqual([image.slice(3, 43), Uint8Array.of(1, 2, 3, 4)]);
  });

  it('looks different at each address to the host, though the plaintext repeats', async () => {
    const { hypervisor } = await launched('sev', idle);
    const ciphertext = await hypervisor.host.memory.read(places.image, image.length);
    const blocks = Array.from({ length: image.length / 16 }, (_, i) =>
      toHex(ciphertext.subarray(16 * i, 16 * i + 16)),
    );
    expect(new Set(blocks).size).toBe(blocks.length);
  });

  it('turns to noise where the host moved, swapped or changed ciphertext', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev', async (view) => {
      seen.push(await view.readPrivate(0, 48));
    });
    const { memory } = hypervisor.host;
    await memory.write(places.image, await memory.read(places.image + 16, 16));
    const changed = await memory.read(places.image + 16, 16);
    changed[0]! ^= 1;
    await memory.write(places.image + 16, changed);
    await hypervisor.host.enter(control);
    expect(seen[0]!.subarray(0, 16)).not.toEqual(image.subarray(0, 16));
    expect(seen[0]!.subarray(16, 32)).not.toEqual(image.subarray(16, 32));
    expect(seen[0]!.subarray(32)).toEqual(image.subarray(32, 48));
  });

  it('takes old ciphertext back in place, and pages under another address of the guest (limit of SEV and SEV-ES)', async () => {
    const seen: string[] = [];
    const text = async (view: GuestView, at: number) =>
      new TextDecoder().decode(await view.readPrivate(at, 16));
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      await view.writePrivate(0x1000, new TextEncoder().encode('balance: 1000000'));
      await view.halt();
      await view.writePrivate(0x1000, new TextEncoder().encode('balance: 0000000'));
      await view.halt();
      seen.push(await text(view, 0x1000));
      await view.halt();
      seen.push(await text(view, 0x2000));
    });
    const { host } = hypervisor;
    await host.enter(control);
    const old = await host.memory.read(places.image + 0x1000, 16);
    await host.enter(control);
    await host.memory.write(places.image + 0x1000, old);
    await host.enter(control);
    const remapped = [
      { guestAddress: 0, systemAddress: places.image, length: 0x2000 },
      { guestAddress: 0x2000, systemAddress: places.image + 0x1000, length: 0x1000 },
    ];
    await host.enter({ ...control, nestedPages: remapped });
    expect(seen).toEqual(['balance: 1000000', 'balance: 1000000']);
  });

  it('leaves to the host where nothing is mapped, and goes on when something is', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      await view.writePrivate(0x7ffe, Uint8Array.of(1, 2, 3, 4));
      seen.push(await view.readPrivate(0x7ffe, 4));
    });
    const { host } = hypervisor;
    const before = await host.memory.read(places.image + 0x7ff0, 16);
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0x8000 });
    expect(await host.memory.read(places.image + 0x7ff0, 16)).toEqual(before);
    const trusted = { guestAddress: 0x8000, systemAddress: places.trusted, length: 4096 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, trusted] })).toMatchObject({
      reason: 'npf',
    });
    const beyond = { ...trusted, systemAddress: 0x80_0000 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, beyond] })).toMatchObject({
      reason: 'npf',
    });
    const good = { ...trusted, systemAddress: 0x60_0000 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, good] })).toMatchObject({
      reason: 'hlt',
    });
    expect(seen).toEqual([Uint8Array.of(1, 2, 3, 4)]);
  });
});
