import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { systemRandom } from '@vouchsafe/sev';
import { afterEach, describe, expect, it } from 'vitest';
import type { GuestView } from '../guest-view.js';
import { manufactureChip } from '../identity/chip.js';
import { createSoftwareMachine, type SoftwareMachine } from '../machine.js';
import type { HostMachine, VirtualMachineControl } from '../mailbox.js';
import { machineProfiles } from '../profiles.js';
import { snpTestAuthority, underAmdsRoots, verifiedBy } from '../testing/snp-authority.js';

/**
 * A host and a guest that were written from the reference sheet alone (sections 3 and 4): every offset and every number
 * stands here, no structure of this project is used, and node:crypto does AES-GCM. That they are understood shows that
 * both sides of the message mean the same.
 */

const le = (
  size: number,
  ...fields: readonly (readonly [offset: number, width: 1 | 2 | 4 | 8, value: number | bigint])[]
) => {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (const [offset, width, value] of fields) {
    if (width === 1) view.setUint8(offset, Number(value));
    else if (width === 2) view.setUint16(offset, Number(value), true);
    else if (width === 4) view.setUint32(offset, Number(value), true);
    else view.setBigUint64(offset, BigInt(value), true);
  }
  return bytes;
};
const u32 = (bytes: Uint8Array, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
const u64 = (bytes: Uint8Array, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);

/** System physical addresses, and what the guest has them at. */
const buffer = 0x1000;
const context = 0x2000;
const bounce = 0x3000;
const code = { page: 0x10_0000, gpa: 0x1000 };
const secrets = { page: 0x10_1000, gpa: 0x2000 };
const vmsa = { page: 0x10_2000, gpa: 0xffff_ffff_f000 };
const shared = { page: 0x20_0000, gpa: 0x10_0000 };
const [ghcb, request, response] = [shared.gpa, shared.gpa + 0x1000, shared.gpa + 0x2000];
const asid = 3;
const policy = 0x30000n;
const hostData = new Uint8Array(32).fill(0x5a);

async function command(host: HostMachine, id: number, bytes?: Uint8Array): Promise<void> {
  if (bytes !== undefined) await host.memory.write(buffer, bytes);
  expect(await host.submit(id, bytes === undefined ? 0 : buffer), `command 0x${id.toString(16)}`).toBe(0);
}

async function assign(host: HostMachine, page: number, guestAddress: number, owner: number): Promise<void> {
  const update = { assigned: true, size: '4K', immutable: true, guestAddress, asid: owner } as const;
  expect(await host.reverseMap.update(page, update)).toBe(0);
}

/** Launches a guest of three pages; what it measures. */
async function launch(host: HostMachine): Promise<Uint8Array> {
  await command(host, 0x81);
  await host.writeBackAndInvalidate();
  await command(host, 0x84);
  await assign(host, context, 0, 0);
  await assign(host, bounce, 0, 0);
  await command(host, 0x93, le(8, [0, 8, context]));
  await command(host, 0xa0, le(0x30, [0, 8, context], [8, 8, policy]));
  await command(host, 0x91, le(0x10, [0, 8, context], [8, 4, asid]));

  const codePage = randomBytes(4096);
  // Reset state: CS base 0xffff0000, RIP 0xfff0; SEV_FEATURES: SNPActive.
  const vmsaPage = le(4096, [0x18, 8, 0xffff_0000], [0x178, 8, 0xfff0], [0x3b0, 8, 1]);
  const pages = [
    { ...code, type: 1, contents: codePage },
    { ...secrets, type: 5, contents: undefined },
    { ...vmsa, type: 2, contents: vmsaPage },
  ];
  let digest: Uint8Array = new Uint8Array(48);
  for (const { page, gpa, type, contents } of pages) {
    if (contents !== undefined) await host.memory.write(page, contents);
    await assign(host, page, gpa, asid);
    await command(host, 0xa1, le(0x20, [0, 8, context], [8, 4, type << 1], [0x10, 8, page]));
    const info = le(0x70, [0x60, 2, 0x70], [0x62, 1, type], [0x68, 8, gpa]);
    info.set(digest);
    if (contents !== undefined) info.set(createHash('sha384').update(contents).digest(), 0x30);
    digest = createHash('sha384').update(info).digest();
  }
  const finish = le(0x40, [0, 8, context]);
  finish.set(hostData, 0x20);
  await command(host, 0xa2, finish);
  return new Uint8Array(digest);
}

/** Runs the guest until it halts, and carries its messages: what passes by is kept for the test to look at. */
async function run(host: HostMachine, seen: Uint8Array[]): Promise<void> {
  const control: VirtualMachineControl = {
    asid,
    vmsaAddress: vmsa.page,
    nestedPages: [
      { guestAddress: code.gpa, systemAddress: code.page, length: 0x2000 },
      { guestAddress: shared.gpa, systemAddress: shared.page, length: 0x3000 },
    ],
  };
  const systemAddress = (gpa: bigint) => Number(gpa) - shared.gpa + shared.page;
  for (;;) {
    const exit = await host.enter(control);
    if (exit.reason === 'hlt') return;
    if (exit.reason !== 'vmgexit') throw new Error(`the guest left with ${JSON.stringify(exit)}`);
    const page = await host.memory.read(systemAddress(BigInt(exit.ghcbGuestAddress)), 4096);
    expect(u64(page, 0x390), 'SW_EXITCODE').toBe(0x8000_0011n);
    const [from, to] = [systemAddress(u64(page, 0x398)), systemAddress(u64(page, 0x3a0))];
    await command(host, 0x94, le(0x18, [0, 8, context], [8, 8, from], [0x10, 8, bounce]));
    const answer = await host.memory.read(bounce, 4096);
    seen.push(await host.memory.read(from, 4096), answer);
    await host.memory.write(to, answer);
    await host.memory.write(systemAddress(BigInt(exit.ghcbGuestAddress)) + 0x3a0, new Uint8Array(8));
  }
}

/** The guest's side: one exchange under VMPCK0. */
async function ask(view: GuestView, key: Uint8Array, number: bigint, type: number, payload: Uint8Array) {
  const iv = (sequence: bigint) => le(12, [0, 8, sequence]);
  const header = le(
    0x60,
    [0x20, 8, number],
    [0x30, 1, 1],
    [0x31, 1, 1],
    [0x32, 2, 0x60],
    [0x34, 1, type],
    [0x35, 1, 1],
    [0x36, 2, payload.length],
  );
  const cipher = createCipheriv('aes-256-gcm', key, iv(number));
  cipher.setAAD(header.subarray(0x30));
  const sealed = Buffer.concat([cipher.update(payload), cipher.final()]);
  header.set(cipher.getAuthTag());
  const message = new Uint8Array(4096);
  message.set(header);
  message.set(sealed, 0x60);
  await view.writeShared(request, message);
  await view.writeShared(response, new Uint8Array(4096));
  await view.writeShared(ghcb, le(4096, [0x390, 8, 0x8000_0011n], [0x398, 8, request], [0x3a0, 8, response]));
  await view.vmgexit(ghcb);

  const answer = await view.readShared(response, 4096);
  expect(u64(answer, 0x20), 'MSG_SEQNO').toBe(number + 1n);
  expect([answer[0x30], answer[0x31], answer[0x34], answer[0x35], answer[0x3c]]).toEqual([
    1,
    1,
    type + 1,
    1,
    0,
  ]);
  const size = u32(answer, 0x34) >>> 16;
  const decipher = createDecipheriv('aes-256-gcm', key, iv(number + 1n));
  decipher.setAAD(answer.subarray(0x30, 0x60));
  decipher.setAuthTag(answer.subarray(0, 16));
  return new Uint8Array(
    Buffer.concat([decipher.update(answer.subarray(0x60, 0x60 + size)), decipher.final()]),
  );
}

let machine: SoftwareMachine | undefined;
afterEach(() => machine?.close());

describe.each(['milan', 'genoa', 'turin'] as const)('an independent client of a %s machine', (generation) => {
  it('gets a report that verifies under its maker’s root, and a key that nobody else sees', async () => {
    const chip = manufactureChip({ random: systemRandom, generation });
    machine = createSoftwareMachine({ chip, random: systemRandom, memory: 4 * 1024 * 1024 });
    const authority = await snpTestAuthority(generation);
    const nonce = randomBytes(64);
    const got: Uint8Array[] = [];
    machine.insertGuest(async (view) => {
      const page = await view.readPrivate(secrets.gpa, 4096);
      const vmpck0 = page.slice(0x20, 0x40);
      const reportRequest = new Uint8Array(96);
      reportRequest.set(nonce);
      got.push(await ask(view, vmpck0, 1n, 5, reportRequest));
      got.push(await ask(view, vmpck0, 3n, 3, new Uint8Array(32)));
      await view.halt();
    });
    const measurement = await launch(machine.host);
    const seen: Uint8Array[] = [];
    await run(machine.host, seen);

    const [reportAnswer, keyAnswer] = got as [Uint8Array, Uint8Array];
    expect([u32(reportAnswer, 0), u32(reportAnswer, 4), reportAnswer.length]).toEqual([0, 0x4a0, 0x4c0]);
    const report = reportAnswer.slice(0x20);
    expect(report.slice(0x90, 0xc0)).toEqual(measurement);
    const vek = await authority.vcek(chip, machineProfiles[generation].snp!.currentTcb);
    const expectations = { reportData: new Uint8Array(nonce), measurements: [measurement], hostData };
    const own = await verifiedBy(authority, { report, vek }, { expectations });
    expect(own).toMatchObject({ word: 'accepted', failed: [], root: { kind: 'development' } });
    const amds = await verifiedBy(authority, { report, vek }, { expectations, ...underAmdsRoots });
    expect(amds).toMatchObject({ word: 'refused', failed: ['endorsement.ark.root'] });

    expect([u32(keyAnswer, 0), keyAnswer.length]).toEqual([0, 64]);
    const key = Buffer.from(keyAnswer.subarray(0x20)).toString('latin1');
    expect(new Set(key).size).toBeGreaterThan(8);
    expect(seen).toHaveLength(4);
    for (const page of seen) {
      const text = Buffer.from(page).toString('latin1');
      expect(text).not.toContain(key);
      expect(text).not.toContain(nonce.toString('latin1'));
    }
  });
});
