import { command, type Result } from '../../frame/command.js';
import { readInput, writeOutputs } from '../../frame/files.js';
import { harmless, type Screen } from '../../frame/screen.js';
import { referenceDigests } from './digests.js';
import { nextDocument, type SignedReference } from './document.js';
import { referenceOptions } from './options.js';

export const create = command({
  description:
    'Turns boot files into signed reference values: the launch digests that machines with these files have, for the ' +
    'generations, numbers of vCPUs and CPU models that are named. Publish what it writes with `broker reference publish ' +
    '--from`. Needs the files and the issuer’s key, and no broker: it belongs where images are built.',
  arguments: {},
  options: referenceOptions,
  examples: [
    {
      line: 'reference create --firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --append "root=/dev/mapper/root" --mode sev --mode seves --mode snp --vcpus 1-4 --vcpu-type EPYC-Milan --key issuer.jwk --out images.jws',
      explains: 'all three generations',
    },
    {
      line: 'reference create --firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan --key issuer.jwk --keep images.jws --keep-until 2027-01-31 --out next.jws',
      explains: 'a new image beside the one before it',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const digests = await referenceDigests(input, io);
    const previous =
      input.keep === undefined
        ? undefined
        : new TextDecoder().decode(await readInput(input.keep, '--keep', io));
    const made = await nextDocument(digests, input, { previous, now: Date.now(), io });
    await writeSigned(input.out, made);
    return {
      exit: 0,
      json: { out: input.out, document: made.document },
      render: (screen) => showDocument(screen, input.out, made),
    };
  },
});

export async function writeSigned(path: string, { signed }: SignedReference): Promise<void> {
  await writeOutputs([{ path, bytes: new TextEncoder().encode(`${signed}\n`) }], { overwrite: true });
}

export function showDocument(screen: Screen, path: string, { document }: SignedReference): void {
  const { issuer, name, version, notAfter, measurements = [], launchDigests = [] } = document;
  screen.line(`Wrote ${path}: ${issuer}/${name}, version ${version}, until ${notAfter}`);
  screen.table(
    ['launch digest', 'of', 'until'],
    [...measurements, ...launchDigests].map((each) => [
      each.value,
      harmless(each.label ?? ''),
      each.notAfter ?? '',
    ]),
  );
}
