import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BootedGuest,
  decryptImage,
  guestFirmwareProgram,
  OciLayout,
  openPacketsWith,
  parseAgentKernelParameters,
  requireResource,
  takeInjectedKeys,
} from '@vouchsafe/guest';
import { serveVirtualMachine } from '@vouchsafe/host';
import { openSecret, toBase64 } from '@vouchsafe/sev';
import { expect, it, onTestFinished } from 'vitest';
import { makeOciImage, manifestOf } from '../../../../guest/src/testing/oci-image.js';
import { launchMachine, makeOwner } from '../../../../host/src/testing/launch-fixture.js';
import { run, runJson } from '../../testing/run.js';

const keyId = 'kbs:///acme/image-key/web';
const ownersCommandLine = 'console=ttyS0 agent.aa_kbc_params=offline_sev_kbc::null';

/** The pod's image, encrypted by its owner, and a sandbox that a host has prepared as it likes. */
async function sandbox(commandLine: string) {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-pod-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  const plain = makeOciImage(at('plain'), { layers: [randomBytes(2000), randomBytes(2000)] });
  writeFileSync(at('image.key'), randomBytes(32));
  const key = ['--key', at('image.key'), '--key-id', keyId];
  expect((await run(['image', 'encrypt', at('plain'), at('secret'), ...key])).exit).toBe(0);
  const table = { 'acme/image-key/web': toBase64(readFileSync(at('image.key'))) };
  writeFileSync(at('keys.json'), JSON.stringify(table));

  const { host, insertGuest } = launchMachine();
  const said: string[] = [];
  const ended = new Promise<void>((resolve) => {
    const init = (guest: BootedGuest) => agent(guest).finally(resolve);
    insertGuest(guestFirmwareProgram({ init, onConsole: (line) => said.push(line) }));
  });

  /** What the measured initrd does: it reads the agent's parameters, takes the keys, and opens the image. */
  async function agent(guest: BootedGuest): Promise<void> {
    const { keyBroker } = parseAgentKernelParameters(guest.files?.commandLine ?? '');
    await guest.print(`keys from ${keyBroker?.client} ${keyBroker?.address}`.trim());
    const secrets = await guest.openSecrets();
    const keys = await takeInjectedKeys(secrets);
    const left = await secrets.list();
    if (keys === undefined) return guest.print('no keys');
    const { layers } = await decryptImage({
      from: await OciLayout.open(at('secret')),
      to: await OciLayout.create(at('opened')),
      as: 'latest',
      openPacket: openPacketsWith((id) => requireResource(keys, id)),
      repositories: ['acme'],
    });
    await guest.print(`${layers.length} layers, ${left.length} secrets left`);
  }

  const [kernel, initrd] = ['kernel', 'initrd'].map((text) => new TextEncoder().encode(text));
  const owner = await makeOwner(host, { directBoot: { kernel: kernel!, initrd: initrd!, commandLine } });
  const { tik, tek } = owner.session;
  writeFileSync(at('tik'), openSecret(tik));
  writeFileSync(at('tek'), openSecret(tek));
  writeFileSync(at('kernel'), kernel!);
  writeFileSync(at('initrd'), initrd!);
  writeFileSync(at('firmware'), owner.configuration.firmware);
  const served = await serveVirtualMachine({
    machine: host,
    socketPath: at('qmp'),
    configuration: owner.configuration,
  });
  onTestFinished(() => served.close());
  return { at, plain, said, ended };
}

interface Status {
  readonly launchMeasureBlob: string;
  readonly policy: number;
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly buildId: number;
}

/** What the owner does with the sandbox's QMP socket, or with a runtime that hands on what it says. */
async function verified(at: (name: string) => string) {
  const qmp = ['--qmp', at('qmp')];
  const { document } = await runJson<Status>(['host', 'status', ...qmp]);
  const blob = ['--launch-measure-blob', document.launchMeasureBlob];
  const verdict = await runJson<{ checks: { id: string; status: string }[] }>([
    ...['measurement', 'verify', '--tik', at('tik'), ...blob, '--policy', `${document.policy}`],
    ...['--api-major', `${document.apiMajor}`, '--api-minor', `${document.apiMinor}`],
    ...['--build-id', `${document.buildId}`, '--firmware', at('firmware')],
    ...['--kernel', at('kernel'), '--initrd', at('initrd'), '--cmdline', ownersCommandLine],
  ]);
  return { qmp, blob, verdict };
}

it('a pod sandbox over QMP: measured, given its image’s keys, and its image opens inside', async () => {
  const { at, plain, said, ended } = await sandbox(ownersCommandLine);
  const { qmp, blob, verdict } = await verified(at);
  expect(verdict.exit).toBe(0);
  const entry = `e6f5a162-d67f-4750-a67c-5d065f2a9910:${at('keys.json')}`;
  const packet = [at('header'), at('payload')];
  const keys = ['--tik', at('tik'), '--tek', at('tek'), ...blob, '--secret', entry];
  expect((await run(['secret', 'build', ...keys, ...packet])).exit).toBe(0);
  expect((await run(['host', 'inject', ...packet, ...qmp])).exit).toBe(0);
  expect((await run(['host', 'resume', ...qmp])).exit).toBe(0);
  await ended;
  expect(said).toEqual(['keys from offline_sev_kbc', '2 layers, 0 secrets left']);
  expect(manifestOf(at('opened')).layers.map(({ digest }) => digest)).toEqual(plain);
});

it('a sandbox whose agent would ask another broker has another measurement, and gets no keys', async () => {
  const mallory = ownersCommandLine.replace('offline_sev_kbc::null', 'cc_kbc::http://mallory.example');
  const { at } = await sandbox(mallory);
  const { verdict } = await verified(at);
  expect(verdict.exit).toBe(1);
  const failed = verdict.document.checks.filter(({ status }) => status === 'fail');
  expect(failed.map(({ id }) => id)).toEqual(['measurement.digest']);
});
