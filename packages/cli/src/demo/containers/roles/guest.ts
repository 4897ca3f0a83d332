import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BootedGuest,
  brokerResources,
  decryptImage,
  guestKeyProvider,
  OciLayout,
  type OpenPacket,
} from '@vouchsafe/guest';
import { type KeyProvider, keyProviderInput, keyProviderOutput, parseStrictJson } from '@vouchsafe/protocol';
import { MalformedError, Secret, UnavailableError } from '@vouchsafe/sev';
import { attachMachines, brokerOf, ownersWords } from '../../brokered/booted.js';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { imageName } from '../sample-image.js';

/** What runs inside each machine: it attests, its agent opens the packets of the layers, and the layers are decrypted. */
export interface GuestSettings {
  readonly socket: string;
  /** The host's copy of the image. */
  readonly encrypted: string;
  readonly starts: number;
}

/** One machine from inside. */
export interface GuestStart {
  /** Milliseconds from the challenge to the token. */
  readonly attestation: number;
  /** Milliseconds for the keys of all layers, and their decryption. */
  readonly image: number;
  /** What came out, the lowest first. */
  readonly layers: readonly string[];
}

playRole<GuestSettings>(({ settings, narrate, ready }) => {
  return new Promise<readonly GuestStart[]>((resolve, reject) => {
    const done: GuestStart[] = [];
    attachMachines(settings.socket, reject, async (guest) => {
      const start = await openImage(guest, settings, done.length === 0 ? narrate : undefined);
      await guest.print('the image is open');
      done.push(start);
      if (done.length === settings.starts) resolve(done);
    }).then(() => ready(), reject);
  });
});

async function openImage(
  guest: BootedGuest,
  { encrypted }: GuestSettings,
  narrate: Narrator | undefined,
): Promise<GuestStart> {
  const { broker: address, commandLine } = ownersWords(guest);
  const [, manifest] = /(?:^| )demo\.image=(\S+)/.exec(commandLine) ?? [];
  if (manifest === undefined) throw new UnavailableError('command line', 'it names no image');
  const broker = brokerOf(guest, address, narrate);
  const began = performance.now();
  await broker.token();
  const attested = performance.now();
  await narrate?.step('guest', 'the broker believes it: a session for its own key', 'accepted');

  const provider = guestKeyProvider(brokerResources(broker));
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-machine-'));
  try {
    const { layers } = await decryptImage({
      from: await OciLayout.open(encrypted),
      to: await OciLayout.create(folder),
      image: imageName,
      as: imageName,
      openPacket: throughAgent(provider, narrate),
      repositories: ['demo'],
      manifest,
    });
    const opened = performance.now();
    await narrate?.step('guest', `all ${layers.length} layers decrypt, and are what they were`, 'accepted');
    for (const [index, { digest }] of layers.entries())
      await narrate?.sight(`layer ${index}`, 'guest', `plain text, ${digest.slice(0, 23)}…`);
    return {
      attestation: attested - began,
      image: opened - attested,
      layers: layers.map(({ digest }) => digest),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Asks the agent's key provider as container tools do, with their JSON. */
function throughAgent(provider: KeyProvider, narrate: Narrator | undefined): OpenPacket {
  return async (annotation) => {
    await narrate?.step(
      'guest',
      'asks its agent to open the packet of a layer; the key comes from the broker',
    );
    const request = keyProviderInput.toJson({
      op: 'keyunwrap',
      keyunwrapparams: { dc: { Parameters: {} }, annotation },
    });
    const answer = await provider.answer(new TextEncoder().encode(JSON.stringify(request)), 'unwrap');
    const text = new TextDecoder().decode(answer);
    answer.fill(0);
    const { name } = keyProviderOutput;
    const output = keyProviderOutput.parse(parseStrictJson(name, text));
    if ('keyunwrapresults' in output) return Secret.take(output.keyunwrapresults.optsdata);
    const fault = { field: 'keyunwrapresults', offset: 0, expected: 'options', found: 'a packet' };
    throw new MalformedError({ structure: name, ...fault });
  };
}
