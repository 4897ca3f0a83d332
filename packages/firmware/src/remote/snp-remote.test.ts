import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestFault, type GuestProgram, type GuestView } from '../guest-view.js';
import { HostFault } from '../mailbox.js';
import { testMachine } from '../testing/hypervisor.js';
import { resetVmsa } from '../testing/snp-fixture.js';
import { launchedPlaces, launchSnpGuest } from '../testing/snp-launch.js';
import { type AttachedGuest, connectGuest } from './guest-client.js';
import { connectHost, type RemoteHostMachine } from './host-client.js';
import { serveMachine } from './server.js';

const { memory: ram, shared } = launchedPlaces;
const image = new TextEncoder().encode('sixteen bytes!! '.repeat(512));
const place = 0x8000;
const placeSystem = ram.system + place;

describe('an SNP guest over sockets', () => {
  let folder: string;
  let end: () => Promise<void>;
  let host: RemoteHostMachine;
  const guests: AttachedGuest[] = [];
  const failures: unknown[] = [];
  const socket = (name: 'host' | 'guest') => join(folder, `${name}.sock`);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vouchsafe-machine-'));
    const machine = testMachine();
    const sockets = { hostSocket: socket('host'), guestSocket: socket('guest') };
    const server = await serveMachine(machine, sockets);
    host = await connectHost(sockets.hostSocket);
    failures.length = 0;
    end = async () => {
      for (const guest of guests.splice(0)) guest.close();
      host.close();
      await machine.close();
      await server.close();
      await rm(folder, { recursive: true });
    };
  });
  afterEach(() => end());

  async function attach(program: GuestProgram): Promise<AttachedGuest> {
    const guest = await connectGuest(socket('guest'), program, (error) => failures.push(error));
    guests.push(guest);
    return guest;
  }

  /** Makes a vCPU out of a page of the guest's memory. */
  async function make(view: GuestView, program: GuestProgram, fields: Parameters<typeof resetVmsa>[0]) {
    await view.pvalidate(place, { size: '4K', validate: true });
    await view.writePrivate(place, resetVmsa(fields));
    expect(await view.rmpadjust(place, { targetVmpl: 1, permissions: 0, vmsa: true })).toBe(0);
    await view.place(program, place);
  }

  it('does in another process what it does in the machine’s own', async () => {
    const seen: unknown[] = [];
    const fault = (error: unknown) =>
      seen.push(error instanceof GuestFault ? [error.fault, error.guestAddress] : error);
    await attach(async (view) => {
      seen.push([view.snp, view.encryptedState, view.vmpl], await view.readPrivate(0, 15));
      await view.readPrivate(0x5010, 1).catch(fault);
      seen.push(await view.pvalidate(0x5000, { size: '4K', validate: true }));
      seen.push(await view.pvalidate(0x5000, { size: '4K', validate: true }));
      seen.push(await view.pvalidate(0, { size: '2M', validate: true }));
      seen.push(await view.rmpadjust(0x5000, { targetVmpl: 1, permissions: 3, vmsa: false }));
      seen.push(await view.rmpadjust(0, { targetVmpl: 1, permissions: 3, vmsa: false, size: '2M' }));
      seen.push(await view.rmpadjust(-1, { targetVmpl: 1.5, permissions: 3, vmsa: false }));
      seen.push(await view.msrProtocol(0xffff_ffff_ffff_ffffn), await view.msrProtocol(2n));
      await view.writeShared(ram.guest, Uint8Array.of(1));
    });
    const { control } = await launchSnpGuest(host, image);
    expect(await host.enter(control)).toEqual({ reason: 'msr-protocol', request: 0xffff_ffff_ffff_ffffn });
    expect(await host.enter({ ...control, ghcbMsr: 0xabcn })).toEqual({
      reason: 'msr-protocol',
      request: 2n,
    });
    const violation = { write: true, encrypted: false, sizeMismatch: false, vmpl: false };
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0, violation });
    expect(failures).toEqual([]);
    expect(seen).toEqual([
      [true, true, 0],
      image.slice(0, 15),
      ['page-not-validated', 0x5010],
      { status: 0, changed: true },
      { status: 0, changed: false },
      { status: 6, changed: false },
      0,
      6,
      1,
      0xabcn,
      0n,
    ]);
  });

  it('makes vCPUs, whose programs run in the process that placed them', async () => {
    const seen: unknown[] = [];
    const application =
      (name: string): GuestProgram =>
      async (view) => {
        seen.push([name, view.vmpl, view.registers.rip]);
        await view.vmgexit(shared.guest);
        seen.push(name);
      };
    await attach(async (view) => {
      await make(view, application('first'), { vmpl: 1, rip: 0x77n });
      await view.vmgexit(shared.guest);
      await view.place(application('second'), place);
      await view.vmgexit(shared.guest);
    });
    const other = await attach(() => Promise.reject(new Error('the wrong process')));
    const { control } = await launchSnpGuest(host, image);
    const application1 = { ...control, vmsaAddress: placeSystem };
    const left = { reason: 'vmgexit', ghcbGuestAddress: shared.guest };
    expect(await host.enter(control)).toEqual(left);
    expect(await host.enter(application1)).toEqual(left);
    expect(await host.enter(control)).toEqual(left);
    expect(await host.enter(application1)).toEqual(left);
    expect(await host.enter(application1)).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([['first', 1, 0x77], ['second', 1, 0x7b], 'second']);
    other.close();
  });

  it('shuts the vCPUs down that a process placed, when it goes away', async () => {
    const guest = await attach(async (view) => {
      await make(view, async () => undefined, {});
      await view.vmgexit(shared.guest);
    });
    const { control } = await launchSnpGuest(host, image);
    await host.enter(control);
    guest.close();
    await guest.ended;
    expect(await host.enter(control)).toEqual({ reason: 'shutdown' });
    expect(await host.enter({ ...control, vmsaAddress: placeSystem })).toEqual({ reason: 'shutdown' });
  });

  it('shows the host the reverse map table, and its faults', async () => {
    const none = { assigned: false, size: '4K', immutable: false, guestAddress: 0, asid: 0 } as const;
    await expect(host.reverseMap.read(0)).rejects.toThrow(UnavailableError);
    const { control } = await launchSnpGuest(host, image);
    const own = { ...none, assigned: true, guestAddress: 0x3000, asid: control.asid };
    expect(await host.reverseMap.read(ram.system + 0x3000)).toEqual(own);
    const write = host.memory.write(ram.system + 0x3010, Uint8Array.of(1));
    await expect(write).rejects.toThrow(HostFault);
    await expect(write).rejects.toMatchObject({ address: ram.system + 0x3000 });
    expect(await host.reverseMap.update(ram.system + 0x3010, none)).toBe(1);
    expect(await host.reverseMap.update(-1, none)).toBe(1);
    expect(await host.reverseMap.update(launchedPlaces.context, none)).toBe(2);
    expect(await host.reverseMap.update(ram.system + 0x3000, none)).toBe(0);
    await host.memory.write(ram.system + 0x3010, Uint8Array.of(1));
    const large = {
      ...none,
      assigned: true,
      size: '2M',
      guestAddress: 0x20_0000,
      asid: control.asid,
    } as const;
    expect(await host.reverseMap.update(0x60_0000, large)).toBe(0);
    expect(await host.reverseMap.smash(0x60_0000)).toBe(0);
    expect(await host.reverseMap.smash(0x60_0000)).toBe(7);
    expect(await host.reverseMap.read(0x60_1000)).toMatchObject({ size: '4K', guestAddress: 0x20_1000 });
  });

  it.each([
    ['host', '/reverse-map/update', { address: 0, request: { assigned: true } }],
    ['host', '/reverse-map/update', { address: 0 }],
    ['host', '/reverse-map/smash', { address: '0' }],
    ['host', '/reverse-map/read', { address: 0, surprise: 1 }],
    ['guest', '/vcpus/1/pvalidate', { address: 0, size: '1G', validate: true }],
    ['guest', '/vcpus/1/rmpadjust', { address: 0, targetVmpl: 1, permissions: 1 }],
    ['guest', '/vcpus/1/place', { address: 0, placement: 'first' }],
  ] as const)('refuses on the %s’s socket at %s what is not of the protocol', async (side, path, body) => {
    const answer = await post(socket(side), path, JSON.stringify(body));
    expect(answer).toMatchObject({ status: 400, body: { code: 'malformed' } });
  });

  it.each(['/vcpus/1/pvalidate', '/vcpus/1/rmpadjust', '/vcpus/1/place'])(
    '%s is for a vCPU that there is',
    async (path) => {
      const address = { address: 0 };
      const operands = {
        '/vcpus/1/pvalidate': { ...address, size: '4K', validate: true },
        '/vcpus/1/rmpadjust': { ...address, targetVmpl: 1, permissions: 1, vmsa: false },
        '/vcpus/1/place': { ...address, placement: 0 },
      }[path];
      const answer = await post(socket('guest'), path, JSON.stringify(operands));
      expect(answer).toMatchObject({ status: 409, body: { code: 'guest-fault', detail: 'machine-gone' } });
    },
  );
});

/** A request as another client than ours might make it. */
function post(
  socketPath: string,
  path: string,
  body: string,
): Promise<{ status: number | undefined; body: unknown }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', connection: 'close' };
    const sent = request({ socketPath, method: 'POST', path, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve({ status: response.statusCode, body: JSON.parse(text) as unknown }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
