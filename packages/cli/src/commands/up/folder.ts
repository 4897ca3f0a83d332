import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseBrokerConfiguration } from '@vouchsafe/broker';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { writeOutputs } from '../../frame/files.js';
import { filesIn } from '../broker/data-folder.js';

/** What the machine gets, before its launch or after it. */
export const released = 'default/key/disk';
/** What is for another machine. */
export const keptBack = 'default/key/other';

/** What `vouchsafe up` keeps in its folder. */
export function partsOf(folder: string) {
  const machine = join(folder, 'machine');
  return {
    /** The development authority of the key service. */
    authority: join(folder, 'authority'),
    ark: join(folder, 'authority', 'milan', 'ark.cert'),
    snpArk: join(folder, 'authority', 'milan', 'ark.der'),
    /** The software processor. */
    host: join(folder, 'host'),
    broker: join(folder, 'broker'),
    firmware: join(machine, 'firmware.fd'),
    /** Where the machine lends out its attestation device. */
    device: join(machine, 'attestation.sock'),
    /** Where the machine writes what it gets. */
    secrets: { [released]: join(machine, 'disk.key'), [keptBack]: join(machine, 'other.key') },
    notes: join(folder, 'up.json'),
  };
}
export type Parts = ReturnType<typeof partsOf>;

/** Written when the folder has been set up: what is told again when it is started again. */
export interface Notes {
  /** Number of the denial of the first start. */
  readonly denial: string;
}

/** @returns undefined for a folder that has not been set up to the end */
export async function readNotes({ notes }: Parts): Promise<Notes | undefined> {
  if (!(await isThere(notes))) return undefined;
  try {
    const { denial } = JSON.parse(await readFile(notes, 'utf8')) as Partial<Notes>;
    if (typeof denial === 'string') return { denial };
  } catch {
    // Told below.
  }
  throw new InvalidArgumentError('--data', `${notes} is not as it was written`, {
    hint: 'delete that file, and the folder is set up again; its keys and its record stay',
  });
}

export async function writeNotes({ notes }: Parts, content: Notes): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(content)}\n`);
  await writeOutputs([{ path: notes, bytes }], { overwrite: true });
}

export interface Addresses {
  /** `HOST:PORT` or `unix:PATH`. */
  readonly listen: string;
  readonly keyServicePort: number;
}

/** Where the services of a folder answered before; undefined for a folder without a broker. */
export async function addressesIn({ broker }: Parts): Promise<Addresses | undefined> {
  const { configuration: file, token } = filesIn(broker);
  if (!(await isThere(file))) return undefined;
  if (!(await isThere(token))) {
    throw new InvalidArgumentError('--data', `${broker} was not made to the end`, {
      hint: 'delete that folder, or name another one with --data',
    });
  }
  const configuration = parseBrokerConfiguration(await readFile(file, 'utf8'), file);
  const { url = '' } = configuration['key-service'] ?? {};
  const port = URL.canParse(url) ? Number(new URL(url).port) : 0;
  if (port > 0) return { listen: configuration.listen, keyServicePort: port };
  throw new InvalidArgumentError('--data', `${file} names another key service, or none`, {
    hint: 'start that broker with `vouchsafe broker serve`, or name another folder with --data',
  });
}

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
