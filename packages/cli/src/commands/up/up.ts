import { mkdir } from 'node:fs/promises';
import { requireSocketPath, UnavailableError } from '@vouchsafe/sev';
import { type Context, command, type Result } from '../../frame/command.js';
import { path, text, withDefault } from '../../frame/options.js';
import { messageIn } from './documents.js';
import { addressesIn, keptBack, type Parts, partsOf, readNotes, released, writeNotes } from './folder.js';
import { nextSteps } from './next-steps.js';
import { freePort } from './ports.js';
import { carryOut } from './processes.js';
import { Services } from './services.js';
import { instructBroker, makeBroker, writeFirmware } from './set-up.js';

export const up = command({
  description:
    'Starts everything on this computer, for development: a key service, a host with a software processor, a key broker, ' +
    'and one SEV-SNP machine that proves what it is and gets a secret. It stays up until Ctrl-C. All data is in one ' +
    'folder: started again there, it goes on with the same chip, keys, secrets and record.',
  arguments: {},
  options: {
    data: withDefault(path('--data <dir>', 'folder for everything'), 'vouchsafe-data'),
    listen: text(
      '--listen <address>',
      'HOST:PORT that the broker answers on (default: at first 127.0.0.1:8080, or a free port; then the same again)',
    ),
  },
  examples: [{ line: 'up', explains: 'in vouchsafe-data, with five commands to try while it is up' }],
  async run({ data, listen }, context): Promise<Result> {
    const parts = partsOf(data);
    requireSocketPath(parts.device, '--data');
    const services = new Services(context.io);
    try {
      const running = await start({ data, listen }, services, context);
      const next = nextSteps(parts, running.broker.address, running.denial);
      return {
        exit: 0,
        json: {
          folder: data,
          keyService: {
            url: running.keyService.url,
            root: running.keyService.root,
            pid: running.keyService.pid,
          },
          broker: { address: running.broker.address, data: parts.broker, pid: running.broker.pid },
          machine: {
            measurement: running.machine.measurement,
            chipId: running.machine.chipId,
            device: parts.device,
            pid: running.machine.pid,
          },
          secret: { resource: released, ...running.secret },
          next: next.map((step) => ({ ...step, command: `vouchsafe ${step.command}` })),
        },
        render(screen) {
          screen.facts([
            ['key service', `${running.keyService.url}: ${running.keyService.root}`],
            ['key broker', running.broker.address],
            ['machine', `SEV-SNP, measurement ${running.machine.measurement}`],
            ['its device', `socket:${parts.device}`],
          ]);
          const { file, refused } = running.secret;
          screen.line(
            refused === null
              ? `${screen.paint('good', 'released')}: the machine proved what it is and got ${released}: ${file}`
              : `${screen.paint('bad', 'refused')}: ${refused}`,
          );
          screen.line();
          screen.line(screen.paint('strong', 'Try next, in another terminal'));
          for (const step of next) {
            screen.line(screen.paint('quiet', `  # ${step.explains}`));
            screen.line(`  npx vouchsafe ${step.command}`);
          }
          screen.line();
          screen.line('Ctrl-C ends all of it.');
        },
        stay: (stop) => services.untilStopped(stop),
      };
    } catch (error) {
      await services.close();
      throw error;
    }
  },
});

interface KeyServiceReady {
  readonly url: string;
  readonly root: string;
}

interface MachineReady {
  readonly measurement: string;
  readonly chipId: string;
}

async function start(
  { data, listen }: { readonly data: string; readonly listen?: string | undefined },
  services: Services,
  { io, progress }: Context,
) {
  const parts = partsOf(data);
  await mkdir(data, { recursive: true, mode: 0o700 });
  const known = await addressesIn(parts);
  const notes = await readNotes(parts);

  progress.step(known === undefined ? 'making a development root: two RSA keys of 4096 bits' : 'starting');
  const port = known?.keyServicePort ?? (await freePort(8081));
  const keyService = await services.start<KeyServiceReady>('key service', [
    ...['kds', 'serve', '--authority', parts.authority, '--port', String(port)],
  ]);

  progress.step('starting the broker and the machine');
  if (notes === undefined) await writeFirmware(parts);
  if (known === undefined)
    await makeBroker(parts, listen ?? `127.0.0.1:${await freePort(8080)}`, keyService.url);
  const [broker, machine] = await Promise.all([
    services.start<{ readonly address: string }>('broker', [
      ...['broker', 'serve', '--data', parts.broker],
      ...(listen === undefined ? [] : ['--listen', listen]),
    ]),
    services.start<MachineReady>('machine', [
      ...['guest', 'device', 'serve', '--software', parts.host, '--authority', parts.authority],
      ...['--firmware', parts.firmware, '--socket', parts.device],
    ]),
  ]);

  if (notes === undefined) {
    progress.step('telling the broker who may have what');
    await instructBroker(parts, io);
  }
  progress.step('the machine attests');
  const [refused, denial] = await Promise.all([
    fetchSecret(parts, broker.address, released),
    notes?.denial ?? denialOf(parts, broker.address),
  ]);
  if (notes === undefined) {
    if (refused !== null) throw new UnavailableError('machine', refused);
    await writeNotes(parts, { denial });
  }
  const secret = { file: refused === null ? parts.secrets[released] : null, refused };
  return { keyService, broker, machine, secret, denial };
}

/** The machine attests and fetches a secret into a file. @returns why it did not get it; null when it did */
async function fetchSecret(
  { device, secrets }: Parts,
  broker: string,
  resource: typeof released | typeof keptBack,
): Promise<string | null> {
  const { document } = await carryOut([
    ...['guest', 'secrets', 'get', `kbs:///${resource}`, '--broker', broker],
    ...['--device', `socket:${device}`, '--out', secrets[resource], '--force'],
  ]);
  return messageIn(document) ?? null;
}

/** The machine asks for what is not for it. @returns the number under which the broker can explain its no */
async function denialOf(parts: Parts, broker: string): Promise<string> {
  const answer = await fetchSecret(parts, broker, keptBack);
  const number = /\d{4}(?:-\d{4}){3}/.exec(answer ?? '')?.[0];
  if (number === undefined) throw new UnavailableError('broker', answer ?? `it released ${keptBack}`);
  return number;
}
