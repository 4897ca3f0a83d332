import {
  amdEndorsementRoots,
  authorityIdentity,
  developmentEndorsementRoot,
  type EndorsementRoot,
  InvalidArgumentError,
  looksLikePem,
  MalformedError,
  readCertificates,
  type SnpEndorsements,
} from '@vouchsafe/sev';
import { readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { grouped, path, repeated, text } from '../../frame/options.js';
import type { EvidenceFile } from './evidence-file.js';

/** Options that say what a report is verified with. */
export const endorsementOptions = grouped('Endorsement', {
  vek: path(
    '--vek <file>',
    'certificate of the VCEK or VLEK, DER or PEM; its chain may stand in the same file',
  ),
  chain: repeated(path('--chain <file>', 'ASK or ASVK and ARK, DER or PEM')),
  certs: path('--certs <table>', 'certificate table that the host gave beside the report (auxblob)'),
  crl: repeated(path('--crl <file>', 'revocation list, DER or PEM')),
  root: path('--root <file>', 'trust this development root (an ARK certificate) instead of AMD’s roots'),
  kds: text('--kds <url>', 'fetch what is missing from this key service; "amd" is AMD’s'),
  cache: path('--cache <dir>', 'folder in which the key service’s answers are kept'),
});

export interface EndorsementInputs {
  readonly vek: string | undefined;
  readonly chain: readonly string[];
  readonly certs: string | undefined;
  readonly crl: readonly string[];
  readonly root: string | undefined;
  readonly kds: string | undefined;
  readonly cache: string | undefined;
}

/** What the files of the command line hold. What the evidence carries itself is used where they leave something out. */
export async function readEndorsements(
  inputs: EndorsementInputs,
  evidence: EvidenceFile,
  io: Io,
): Promise<SnpEndorsements> {
  const certificates = await readAll(inputs.chain, 'certificate chain', io);
  const crls = await readAll(inputs.crl, 'revocation list', io);
  const vek =
    inputs.vek === undefined
      ? evidence.vek
      : requireX509(await readInput(inputs.vek, 'VEK certificate', io), inputs.vek);
  const certificateTable =
    inputs.certs === undefined
      ? evidence.certificateTable
      : await readInput(inputs.certs, 'certificate table', io);
  return {
    certificates,
    crls,
    ...(vek === undefined ? {} : { vek }),
    ...(certificateTable === undefined ? {} : { certificateTable }),
  };
}

async function readAll(files: readonly string[], what: string, io: Io): Promise<Uint8Array[]> {
  const contents: Uint8Array[] = [];
  for (const file of files) contents.push(requireX509(await readInput(file, what, io), file));
  return contents;
}

const sequence = 0x30;

/** A file that cannot be X.509 at all is a mistake in the command line, not evidence to judge. */
function requireX509(content: Uint8Array, name: string): Uint8Array {
  if (content[0] === sequence || looksLikePem(content)) return content;
  throw new MalformedError({
    structure: name,
    field: 'file',
    offset: 0,
    expected: 'DER or PEM',
    found: content.length === 0 ? 'an empty file' : 'something else',
  });
}

/** AMD's roots or, where one is named, a development root and no other. */
export async function trustedRoots(root: string | undefined, io: Io): Promise<readonly EndorsementRoot[]> {
  if (root === undefined) return amdEndorsementRoots;
  const content = requireX509(await readInput(root, 'development root', io), root);
  const ark = readCertificates(content, root).find(
    ({ subject }) => authorityIdentity(subject.attributes)?.role === 'ARK',
  );
  if (ark === undefined) throw new InvalidArgumentError('--root', `${root} holds no ARK certificate`);
  return [await developmentEndorsementRoot(ark.raw)];
}
