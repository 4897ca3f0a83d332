import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpError } from '../qmp/errors.js';
import { connectConfidentialMachine, qemuLauncher } from './qemu-launcher.js';
import { qemuMachine, querySevCapabilities } from './qemu-machine.js';
import { connectWhenReady, qemuProgram } from './qemu-process.js';

/** A real QEMU without SEV: everything of its QMP but success, and what our launcher makes of its refusals. */
const program = '/usr/bin/qemu-system-x86_64';
const withoutSev = [
  '-machine',
  'q35,accel=tcg',
  '-cpu',
  'qemu64',
  '-m',
  '64',
  '-display',
  'none',
  '-nodefaults',
  '-S',
];

async function startedQemu(): Promise<{ client: QmpClient; socket: string }> {
  const socket = join(temporaryFolder(), 'qmp');
  const qemu = await qemuProgram(program)([...withoutSev, '-qmp', `unix:${socket},server=on,wait=off`]);
  onTestFinished(async () => {
    qemu.kill();
    await qemu.ended;
  });
  return { client: await connectWhenReady(qemu, socket, 30_000), socket };
}

if (!existsSync(program)) {
  test("a real QEMU: skipped, Debian's package qemu-system-x86 is not installed", () => {
    expect(existsSync(program)).toBe(false);
  });
} else {
  describe('our QMP client and a real qemu-system-x86_64', () => {
    test('greets, negotiates and tells its version', async () => {
      const { client } = await startedQemu();
      const told = /version (\d+)\.(\d+)\.(\d+)/.exec(
        spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout,
      );
      const { major, minor, micro } = client.version.qemu;
      expect([major, minor, micro]).toEqual(told?.slice(1, 4).map(Number));
    });

    test('runs, stops and quits, with events', async () => {
      const { client } = await startedQemu();
      const machine = qemuMachine({ client });
      const events: string[] = [];
      machine.onEvent(({ type }) => events.push(type));
      expect(await machine.status()).toBe('prelaunch');
      await machine.resume();
      expect(await machine.status()).toBe('running');
      await machine.pause();
      expect(await machine.status()).toBe('paused');
      await machine.quit();
      expect(events).toEqual(['resumed', 'paused', 'ended']);
    });

    test.each<[string, RegExp, (client: QmpClient) => Promise<unknown>]>([
      ['query-sev-capabilities', /KVM not enabled/, querySevCapabilities],
      ['query-sev', /launched without SEV/, (client) => qemuMachine({ client }).information()],
      [
        'query-sev-launch-measure',
        /SEV launch measurement is not available/,
        (client) => qemuMachine({ client }).launchMeasurement(),
      ],
      [
        'query-sev-attestation-report',
        /SEV is not enabled/,
        (client) => qemuMachine({ client }).attestationReport(new Uint8Array(16)),
      ],
      [
        'sev-inject-launch-secret',
        /SEV not enabled for guest/,
        (client) =>
          qemuMachine({ client }).injectSecret({ header: new Uint8Array(52), payload: new Uint8Array(16) }),
      ],
    ])('%s is refused, and the error says what that means and what to do', async (_command, says, ask) => {
      const { client } = await startedQemu();
      const error = await ask(client).catch((refusal: unknown) => refusal);
      expect(error).toBeInstanceOf(UnavailableError);
      expect((error as UnavailableError).message).toMatch(says);
      expect((error as UnavailableError).hint).toMatch(/accel=kvm|sev-guest/);
    });

    test('an unknown command and a wrong argument are QMP errors with QEMU’s own words', async () => {
      const { client } = await startedQemu();
      const unknown = await client.execute('query-nothing').catch((error: unknown) => error);
      expect(unknown).toBeInstanceOf(QmpError);
      expect(unknown).toMatchObject({
        command: 'query-nothing',
        errorClass: 'CommandNotFound',
        description: 'The command query-nothing has not been found',
      });
      const given = { arguments: { mnonce: 5 } };
      await expect(client.execute('query-sev-attestation-report', given)).rejects.toMatchObject({
        errorClass: 'GenericError',
        description: "Invalid parameter type for 'mnonce', expected: string",
      });
      expect(await client.execute('query-status')).toMatchObject({ running: false });
    });

    test('a machine that someone else started can be driven by its socket', async () => {
      const { client, socket } = await startedQemu();
      await client.close();
      const machine = await connectConfidentialMachine(socket);
      expect(await machine.status()).toBe('prelaunch');
      await machine.quit();
    });

    test('a launch on a host without SEV says what is missing', async ({ skip }) => {
      if (existsSync('/dev/sev')) return skip('this host has SEV');
      const launcher = qemuLauncher({ temporaryFolder: temporaryFolder() });
      const error = await launcher.capabilities().catch((refusal: unknown) => refusal);
      expect(error).toBeInstanceOf(UnavailableError);
      expect((error as UnavailableError).hint).toMatch(/kvm|EPYC/);
    });
  });
}
