import { readFile } from 'node:fs/promises';
import { command, type Result } from '../../frame/command.js';
import { number, withDefault } from '../../frame/options.js';
import { screenOn } from '../../frame/screen.js';
import { untilStopped } from '../stay.js';
import { watchBuild } from './build-watch.js';
import { showDocument, writeSigned } from './create.js';
import { type ReferenceDigests, referenceDigests } from './digests.js';
import { nextDocument, type SignedReference } from './document.js';
import { referenceOptions } from './options.js';

const { keep: _keep, keepUntil: _until, documentVersion: _version, ...createOptions } = referenceOptions;

export const watch = command({
  description:
    'Does what `reference create` does whenever a build has changed the boot files: writes the next version, in which the ' +
    'digests of the builds before stay for a while. It begins with the files as they are, and with the document that lies ' +
    'at --out. Files that are gone or broken change nothing: it waits for the next build.',
  arguments: {},
  options: {
    ...createOptions,
    keepDays: withDefault(
      number('--keep-days <n>', 'how long the digests of a build stay after the next one', {
        least: 1,
        most: 3650,
      }),
      7,
    ),
    settle: withDefault(
      number('--settle <ms>', 'a build is done when nothing has changed for so many milliseconds', {
        least: 1,
        most: 3_600_000,
      }),
      2000,
    ),
  },
  examples: [
    {
      line: 'reference watch --firmware out/OVMF.fd --kernel out/vmlinuz --initrd out/initrd.img --vcpus 1-4 --vcpu-type EPYC-Milan --key issuer.jwk --out images.jws',
      explains: 'until Ctrl-C',
    },
  ],
  async run(input, { io, json }): Promise<Result> {
    const { out, keepDays, settle } = input;
    const files = [input.firmware, input.kernel, input.initrd].filter((each) => each !== undefined);

    /** The next version, when what is measured is not what the newest one lists as new. */
    async function next(previous: string | undefined): Promise<SignedReference | undefined> {
      const digests = await referenceDigests(input, io);
      const now = Date.now();
      const keepUntil = now + keepDays * 24 * 3_600_000;
      const given = { ...input, keep: undefined, keepUntil, documentVersion: undefined };
      if (previous !== undefined && listsAsNew(previous, digests)) return undefined;
      const made = await nextDocument(digests, given, { previous, now, io });
      await writeSigned(out, made);
      return made;
    }

    const before = await readFile(out, 'utf8').catch(() => undefined);
    const first = await next(before);
    const tell = (made: SignedReference) => {
      if (json) io.stderr.write(`${JSON.stringify({ out, version: made.document.version })}\n`);
      else showDocument(screenOn(io.stderr, io.env), out, made);
    };
    const stop = watchBuild({
      files,
      settle,
      async onBuild() {
        const made = await next(await readFile(out, 'utf8').catch(() => undefined));
        if (made !== undefined) tell(made);
      },
      onError: (error) =>
        io.stderr.write(`not published: ${error instanceof Error ? error.message : String(error)}\n`),
    });
    return {
      exit: 0,
      json: { out, document: first?.document ?? null },
      render(screen) {
        if (first === undefined) screen.line(`${out} has these files already`);
        else showDocument(screen, out, first);
        screen.line(`Watching ${files.join(', ')}`);
      },
      stay: (signal) => untilStopped(signal, stop),
    };
  },
});

/** Whether a document has these digests among those without an end of their own. Its signature is verified when it is kept. */
function listsAsNew(signed: string, { measurements, launchDigests }: ReferenceDigests): boolean {
  const [, payload = ''] = signed.split('.');
  try {
    const document = JSON.parse(
      Buffer.from(payload, 'base64url').toString('utf8'),
    ) as Partial<ReferenceDigests>;
    const listed = [...(document.measurements ?? []), ...(document.launchDigests ?? [])]
      .filter(({ notAfter }) => notAfter === undefined)
      .map(({ value }) => value);
    const wanted = [...measurements, ...launchDigests].map(({ value }) => value);
    return wanted.length === listed.length && wanted.every((value) => listed.includes(value));
  } catch {
    return false;
  }
}
