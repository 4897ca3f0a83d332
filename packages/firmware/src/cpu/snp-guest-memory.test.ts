import { equalBytes } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestProgram } from '../guest-view.js';
import { SnpFixture, snpPlaces } from '../testing/snp-fixture.js';
import { faultOf, steps, system, violation } from '../testing/snp-programs.js';

const { shared } = snpPlaces;
const text = new TextEncoder().encode('a secret of sixteen or more bytes');

describe('an SNP guest’s memory', () => {
  it('is plaintext inside and ciphertext outside', async () => {
    const seen: Uint8Array[] = [];
    const fixture = new SnpFixture(async (view) => {
      await view.writePrivate(0x1ffa, text);
      seen.push(await view.readPrivate(0x1ffa, text.length));
      await view.writeShared(shared.guest + 7, text);
      seen.push(await view.readShared(shared.guest + 7, text.length));
    });
    expect(await fixture.enter()).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([text, text]);
    expect(equalBytes(fixture.memory.read(system(0x1ffa), text.length), text)).toBe(false);
    expect(fixture.memory.read(shared.system + 7, text.length)).toEqual(text);
  });

  it('is not read where the host has put another of its pages in the place; the guest goes on when it is back', async () => {
    const seen: Uint8Array[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void seen.push(await view.readPrivate(0x2000, text.length)),
      ),
    );
    await fixture.enter();
    const honest = fixture.nestedPages;
    fixture.nestedPages = [{ guestAddress: 0x2000, systemAddress: system(0x3000), length: 4096 }];
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    fixture.nestedPages = honest;
    expect(await fixture.enter()).toMatchObject({ reason: 'vmgexit' });
    expect(seen).toEqual([text]);
  });

  it('is at one guest address: an alias is nothing that the guest can use', async () => {
    const fixture = new SnpFixture(async (view) => view.writePrivate(0x40_0000 + 5, text));
    fixture.nestedPages.push({ guestAddress: 0x40_0000, systemAddress: system(0x2000), length: 4096 });
    const before = fixture.memory.read(system(0x2000), 4096);
    const write = { ...violation, write: true };
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x40_0005, violation: write });
    expect(fixture.memory.read(system(0x2000), 4096)).toEqual(before);
  });

  it('names the page of an access across pages, and writes nothing of it', async () => {
    const fixture = new SnpFixture(async (view) => view.writePrivate(0x2ff8, text));
    const before = fixture.memory.read(system(0x2000), 4096);
    fixture.take(system(0x3000));
    const write = { ...violation, write: true };
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x3000, violation: write });
    expect(fixture.memory.read(system(0x2000), 4096)).toEqual(before);
  });

  it('is not valid any more when the host took it and gave it back, with old contents or new', async () => {
    const faults: string[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void faults.push(await faultOf(view.readPrivate(0x2000, 16))),
        async (view) => void faults.push(await faultOf(view.writePrivate(0x2000, text))),
      ),
    );
    const old = fixture.memory.read(system(0x2000), 4096);
    await fixture.enter();
    fixture.take(system(0x2000));
    fixture.memory.write(system(0x2000), old);
    fixture.assign(system(0x2000), 0x2000);
    await fixture.enter();
    await fixture.enter();
    expect(faults).toEqual(['page-not-validated', 'page-not-validated']);
  });

  it('says where a page is that is not valid', async () => {
    const fixture = new SnpFixture((view) => view.writePrivate(0x2ff8, text));
    fixture.own(system(0x3000), 0x3000, 'Guest-Invalid');
    expect(await fixture.enter()).toEqual({ reason: 'shutdown' });
    expect(fixture.failures).toMatchObject([{ fault: 'page-not-validated', guestAddress: 0x3000 }]);
  });

  it('cannot be handed to two guests: the one loses the page, the other finds noise that it must validate', async () => {
    const seen: unknown[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void (await view.readPrivate(0x2000, 16)),
      ),
    );
    await fixture.enter();
    const accomplice: GuestProgram = async (view) => {
      seen.push(await faultOf(view.readPrivate(0x2000, 16)));
      seen.push(await view.pvalidate(0x2000, { size: '4K', validate: true }));
      seen.push(equalBytes(await view.readPrivate(0x2000, text.length), text));
    };
    const vmsaAddress = 0x21_0000;
    const thief = fixture.addGuest(6, accomplice, vmsaAddress);
    expect(await fixture.enter(vmsaAddress, {}, thief)).toEqual({
      reason: 'npf',
      guestAddress: 0x2000,
      violation,
    });
    expect(fixture.assign(system(0x2000), 0x2000, 6)).toBe(0);
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    expect(await fixture.enter(vmsaAddress, {}, thief)).toEqual({ reason: 'hlt' });
    expect(seen).toEqual(['page-not-validated', { status: 0, changed: true }, false]);
  });

  it('shared with the host is not written where a page is the guest’s own', async () => {
    const fixture = new SnpFixture(async (view) => {
      await view.readShared(0x2000, 16);
      await view.writeShared(0x1ff8, text);
    });
    const before = fixture.memory.read(system(0x1000), 8192);
    const plain = { ...violation, encrypted: false, write: true };
    fixture.take(system(0x1000));
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation: plain });
    expect(fixture.memory.read(system(0x1000), 8192)).toEqual(before);
  });

  it('is nowhere where the host has mapped nothing', async () => {
    const fixture = new SnpFixture((view) =>
      view.pvalidate(0x50_0000, { size: '4K', validate: true }).then(),
    );
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x50_0000 });
  });
});
