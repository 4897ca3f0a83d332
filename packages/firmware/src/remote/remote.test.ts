import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildResetVmsa, equalBytes, ghcb, InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuestProgram } from '../guest-view.js';
import type { SoftwareMachine } from '../machine.js';
import { expectSuccess, places, TestHypervisor, testMachine } from '../testing/hypervisor.js';
import { type AttachedGuest, connectGuest } from './guest-client.js';
import { connectHost, type RemoteHostMachine } from './host-client.js';
import { serveMachine } from './server.js';

describe('machine, host and guest over sockets', () => {
  let folder: string;
  let machine: SoftwareMachine;
  let server: { close(): Promise<void> };
  let host: RemoteHostMachine;
  const guests: AttachedGuest[] = [];
  const failures: unknown[] = [];
  const hostSocket = () => join(folder, 'host.sock');
  const guestSocket = () => join(folder, 'guest.sock');

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vouchsafe-machine-'));
    machine = testMachine();
    server = await serveMachine(machine, { hostSocket: hostSocket(), guestSocket: guestSocket() });
    host = await connectHost(hostSocket());
    failures.length = 0;
  });

  afterEach(async () => {
    for (const guest of guests.splice(0)) guest.close();
    host.close();
    await machine.close();
    await server.close();
    await rm(folder, { recursive: true });
  });

  async function attach(program: GuestProgram): Promise<AttachedGuest> {
    const guest = await connectGuest(guestSocket(), program, (error) => failures.push(error));
    guests.push(guest);
    return guest;
  }

  async function runningGuest(mode: 'sev' | 'sev-es', image: Uint8Array) {
    const hypervisor = new TestHypervisor(host);
    await hypervisor.start(mode);
    const handle = await hypervisor.newGuest(mode === 'sev-es' ? 5 : 1);
    const asid = mode === 'sev-es' ? 5 : 200;
    expectSuccess(await hypervisor.activate(handle, asid));
    expectSuccess(await hypervisor.load(handle, places.image, image));
    if (mode === 'sev-es') {
      const page = buildResetVmsa({ vcpuSignature: 0xa00f11, cpu: 'boot', resetAddress: 0, fpu: 'zero' });
      expectSuccess(await hypervisor.loadVmsa(handle, page));
    }
    await hypervisor.measurement(handle);
    expectSuccess(await hypervisor.finish(handle));
    const nestedPages = [{ guestAddress: 0, systemAddress: places.image, length: 0x20000 }];
    const control = { asid, nestedPages, ...(mode === 'sev-es' ? { vmsaAddress: places.vmsa } : {}) };
    return { hypervisor, handle, control };
  }

  it('gives the socket files to this user alone', async () => {
    expect((await stat(hostSocket())).mode & 0o777).toBe(0o600);
    expect((await stat(guestSocket())).mode & 0o777).toBe(0o600);
  });

  it('takes the place of a dead socket, and of nothing else', async () => {
    const file = join(folder, 'precious');
    await writeFile(file, 'precious');
    await expect(serveMachine(machine, { hostSocket: file })).rejects.toThrow(/not a socket/);
    expect(await readFile(file, 'utf8')).toBe('precious');
    await expect(serveMachine(machine, { hostSocket: hostSocket() })).rejects.toThrow(/another process/);
    expect(await host.memory.read(0, 1)).toHaveLength(1);

    const dead = join(folder, 'dead.sock');
    await leaveSocket(dead);
    const again = await serveMachine(machine, { hostSocket: dead });
    await again.close();
  });

  it('leaves no socket when it cannot make both', async () => {
    const other = join(folder, 'other.sock');
    const sockets = { hostSocket: other, guestSocket: hostSocket() };
    await expect(serveMachine(machine, sockets)).rejects.toThrow(UnavailableError);
    await expect(stat(other)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('gives a guest no memory for naming a length', async () => {
    await attach(async (view) => {
      await view.readPrivate(0, 2 ** 40);
    });
    const { control } = await runningGuest('sev', new Uint8Array(16));
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0x20000 });
  });

  it('shows the host the machine and nothing of the chip', async () => {
    expect(host.capabilities).toEqual(machine.host.capabilities);
    expect(host.memory.size).toBe(8 * 1024 * 1024);
    await host.memory.write(places.image, Uint8Array.of(1, 2, 3));
    expect(await host.memory.read(places.image, 4)).toEqual(Uint8Array.of(1, 2, 3, 0));
  });

  it('runs a SEV-ES guest whose program lives in another connection', async () => {
    const image = new TextEncoder().encode('the firmware of this guest......');
    const seen: Uint8Array[] = [];
    await attach(async (view) => {
      seen.push(await view.readPrivate(0, image.length));
      await view.writeShared(0x1000, ghcb.build({ rax: 0x77n }));
      view.registers.rbx = 5n;
      await view.vmgexit(0x1000);
      seen.push(await view.readShared(0x1000, 8), Uint8Array.of(Number(view.registers.rbx)));
      await view.writePrivate(0x2000, image);
    });
    const { control } = await runningGuest('sev-es', image);
    expect(await host.enter(control)).toEqual({ reason: 'vmgexit', ghcbGuestAddress: 0x1000 });
    const block = ghcb.parse(await host.memory.read(places.image + 0x1000, 4096));
    expect(block.rax).toBe(0x77n);
    await host.memory.write(places.image + 0x1000, new Uint8Array(8).fill(9));
    expect(await host.enter(control)).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([image, new Uint8Array(8).fill(9), Uint8Array.of(5)]);
    const written = await host.memory.read(places.image + 0x2000, image.length);
    expect(equalBytes(written, image)).toBe(false);
  });

  it('shows the registers of a guest without SEV-ES at each exit', async () => {
    await attach(async (view) => {
      view.registers.rax = 0xffff_ffff_ffff_ffffn;
      await view.out(0x514, 0x1000);
      await view.shutdown();
    });
    const { control } = await runningGuest('sev', new Uint8Array(16));
    const exit = await host.enter(control);
    expect(exit).toMatchObject({
      reason: 'ioio',
      port: 0x514,
      value: 0x1000,
      saveArea: { rax: 0xffff_ffff_ffff_ffffn },
    });
    expect(await host.enter(control)).toEqual({ reason: 'shutdown' });
  });

  it('waits for a guest process that attaches after the host enters', async () => {
    const { control } = await runningGuest('sev', new Uint8Array(16));
    const exit = host.enter(control);
    await attach(async () => undefined);
    expect(await exit).toMatchObject({ reason: 'hlt' });
  });

  it('shuts a guest down when its process goes away', async () => {
    const guest = await attach(async (view) => {
      await view.out(1, 1);
      guest.close();
      await view.out(2, 2);
    });
    const { control } = await runningGuest('sev', new Uint8Array(16));
    expect(await host.enter(control)).toMatchObject({ reason: 'ioio', port: 1 });
    expect(await host.enter(control)).toEqual({ reason: 'shutdown' });
    await guest.ended;
  });

  it('shuts a guest down when its program throws, and tells its process why', async () => {
    await attach(async () => {
      throw new Error('boom');
    });
    const { control } = await runningGuest('sev', new Uint8Array(16));
    expect(await host.enter(control)).toEqual({ reason: 'shutdown' });
    expect(failures).toEqual([new Error('boom')]);
  });

  it('asks the host for memory that is not mapped', async () => {
    await attach(async (view) => {
      await view.writePrivate(0x10_0000, Uint8Array.of(42));
    });
    const { control } = await runningGuest('sev', new Uint8Array(16));
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0x10_0000 });
    const more = { guestAddress: 0x10_0000, systemAddress: 0x60_0000, length: 4096 };
    const again = { ...control, nestedPages: [...control.nestedPages, more] };
    expect(await host.enter(again)).toMatchObject({ reason: 'hlt' });
  });

  it('carries errors of the machine to the host', async () => {
    await expect(host.memory.read(host.memory.size, 1)).rejects.toThrow(InvalidArgumentError);
    await expect(host.memory.read(host.memory.size, 1)).rejects.toThrow(
      'address: lies beyond the end of memory',
    );
  });

  it('refuses messages that are not the protocol’s', async () => {
    await expect(host.submit(-1, 0)).rejects.toThrow();
    await expect(host.enter({ asid: 1, nestedPages: [], surprise: 1 } as never)).rejects.toThrow();
  });

  it('says so when nothing answers', async () => {
    await expect(connectHost(join(folder, 'nobody.sock'))).rejects.toThrow(UnavailableError);
    await expect(connectGuest(join(folder, 'nobody.sock'), async () => undefined)).rejects.toThrow(
      UnavailableError,
    );
  });

  it('cuts off whoever stays connected when it goes away, and waits for nobody', async () => {
    const attaching = request({ socketPath: guestSocket(), method: 'POST', path: '/attachments' });
    attaching.end();
    const [response] = (await once(attaching, 'response')) as [IncomingMessage];
    const cut = once(response, 'error');
    await server.close();
    expect(await cut).toMatchObject([{ code: 'ECONNRESET' }]);
  }, 10_000);

  it('ends the guest’s process when the machine goes away', async () => {
    const guest = await attach(async () => undefined);
    await server.close();
    await guest.ended;
    await expect(host.memory.read(0, 1)).rejects.toThrow(UnavailableError);
  });
});

/** A socket file as a process leaves it that had no time to remove it: Node removes its own, so it is renamed before. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.live`, resolve));
  await rename(`${path}.live`, path);
  await new Promise((resolve) => server.close(resolve));
}
