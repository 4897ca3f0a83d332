import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  addSignature,
  concat,
  developmentPlatformRoot,
  equalBytes,
  type Generation,
  generations,
  InvalidArgumentError,
  type PlatformRoot,
  parseSevCertificate,
  rsaSignatureField,
  signedBytes,
  toHex,
  UnavailableError,
  VouchsafeError,
  withoutSignatures,
} from '@vouchsafe/sev';
import {
  type AuthorityKeys,
  certifyAuthority,
  generateAuthorityKeys,
  readKey,
  signPss,
  writeKey,
} from './authority-keys.js';
import type { EndorsementSource } from './endorsement-source.js';
import { chipIdLength } from './key-service.js';
import { makePrivateFolder, readIfThere, requirePrivate, writePrivately } from './private-folder.js';
import { isSameCek } from './received.js';
import { type EndorsementAuthority, openEndorsementAuthority } from './snp/endorsement-authority.js';

export interface DevelopmentAuthorityOptions {
  /** Holds one authority for each generation that was ever asked for. */
  readonly folder: string;
  readonly generation: Generation;
  /** Used when the authority is made, in place of new keys; for tests. */
  readonly generateKeys?: (generation: Generation) => Promise<AuthorityKeys>;
  /** Milliseconds since 1970, for the dates in X.509 certificates and revocation lists. */
  readonly now?: () => number;
}

/**
 * Stands where AMD stands for real chips: endorses software processors under a root of its own, which names itself
 * "Vouchsafe Development". Whoever can read its folder can endorse anything, so it vouches for nothing but tests.
 */
export interface DevelopmentAuthority extends EndorsementSource {
  readonly generation: Generation;
  /** 832 bytes for Naples, 1600 for the others. */
  readonly ark: Uint8Array;
  readonly ask: Uint8Array;
  /** The trust anchor to give to a verifier that is to accept this authority's processors. */
  readonly root: PlatformRoot;
  /** Endorses for SEV-SNP, with the same ARK and ASK; undefined for Naples and Rome, which have none. */
  readonly snp: EndorsementAuthority | undefined;
  /**
   * Signs a CEK as AMD's key service does, RSASSA-PSS in slot 1, and keeps it to be served by chip id.
   * @param unsignedCek 0x824 bytes; signatures that it carries already are left out
   * @throws MalformedError for what is not a certificate
   * @throws InvalidArgumentError when it is no CEK, or the chip id was endorsed with another CEK
   */
  endorse(chipId: Uint8Array, unsignedCek: Uint8Array): Promise<Uint8Array>;
}

/**
 * Opens the authority of a generation, and makes its keys at the first call. The private keys stay in the folder (mode
 * 0700, the keys 0600) and leave it in no form.
 * @throws UnavailableError when the folder cannot be used, or others can read the keys
 */
export async function openDevelopmentAuthority(
  options: DevelopmentAuthorityOptions,
): Promise<DevelopmentAuthority> {
  const { generation, generateKeys = generateAuthorityKeys, now = Date.now } = options;
  if (!generations.includes(generation)) {
    throw new InvalidArgumentError(
      'generation',
      `${JSON.stringify(generation)} is not one of ${generations.join(', ')}`,
    );
  }
  const folder = join(options.folder, generation);
  const endorsed = join(folder, 'cek');
  return inFolder(folder, async () => {
    await makePrivateFolder(options.folder);
    if ((await readIfThere(join(folder, 'ark.cert'))) === undefined)
      await create(folder, generation, generateKeys);
    const { ark, ask, askKey } = await load(folder);
    const snp = await openEndorsementAuthority({ folder, generation, now });

    async function endorse(chipId: Uint8Array, unsignedCek: Uint8Array): Promise<Uint8Array> {
      const name = endorsementName(chipId);
      const body = withoutSignatures(unsignedCek);
      const certificate = parseSevCertificate(body, { offset: 0, path: 'CEK certificate' });
      if (certificate.usage !== 'CEK') {
        throw new InvalidArgumentError(
          'CEK',
          `expected a certificate of usage CEK, found ${certificate.usage}`,
        );
      }
      return inFolder(folder, async () => {
        const before = await readIfThere(join(endorsed, name));
        if (before !== undefined && equalBytes(withoutSignatures(before), body)) return before;
        if (before !== undefined && !isSameCek(before, body)) {
          throw new InvalidArgumentError('chip id', 'this authority has endorsed another CEK for it', {
            hint: 'two processors must not share a chip id: manufacture a new one',
          });
        }
        const signer = {
          usage: 'ASK',
          algorithm: generation === 'naples' ? 'RSA-SHA256' : 'RSA-SHA384',
        } as const;
        const signature = signPss(generation, askKey, signedBytes(certificate));
        const signed = addSignature(body, signer, rsaSignatureField(signature));
        await makePrivateFolder(endorsed);
        await writePrivately(join(endorsed, name), signed);
        return signed;
      });
    }

    return {
      generation,
      ark,
      ask,
      root: await developmentPlatformRoot(ark),
      snp,
      endorse,
      findEndorsement: (request) => inFolder(folder, async () => snp?.findEndorsement(request)),
      findCek: (chipId) => inFolder(folder, () => readIfThere(join(endorsed, endorsementName(chipId)))),
      findAskArk: async (wanted) => (wanted === generation ? concat(ask, ark) : undefined),
    };
  });
}

const endorsementName = (chipId: Uint8Array) => {
  if (chipId.length !== chipIdLength) {
    throw new InvalidArgumentError('chip id', `expected ${chipIdLength} bytes, found ${chipId.length}`);
  }
  return `${toHex(chipId)}.cert`;
};

/** Made beside its place and renamed into it: of two processes that start together one makes the authority for both. */
async function create(
  folder: string,
  generation: Generation,
  generateKeys: (generation: Generation) => Promise<AuthorityKeys>,
): Promise<void> {
  const keys = await generateKeys(generation);
  const { ark, ask } = certifyAuthority(generation, keys);
  const draft = await mkdtemp(`${folder}.`);
  try {
    await writePrivately(join(draft, 'ark.key'), writeKey(keys.ark));
    await writePrivately(join(draft, 'ask.key'), writeKey(keys.ask));
    if (keys.asvk !== undefined) await writePrivately(join(draft, 'asvk.key'), writeKey(keys.asvk));
    await writePrivately(join(draft, 'ask.cert'), ask);
    await writePrivately(join(draft, 'ark.cert'), ark);
    await rename(draft, folder);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if ((await readIfThere(join(folder, 'ark.cert'))) === undefined) throw error;
  }
}

/** The ARK's private key is left where it lies: only what signs revocation lists reads it. */
async function load(folder: string) {
  await requirePrivate(folder);
  await requirePrivate(join(folder, 'ask.key'));
  await requirePrivate(join(folder, 'ark.key'));
  const file = async (name: string) => {
    const bytes = await readIfThere(join(folder, name));
    if (bytes === undefined) throw new UnavailableError(folder, `${name} is missing`, { hint: startAnew });
    return bytes;
  };
  const askKey = readKey(new TextDecoder().decode(await file('ask.key')));
  return { ark: await file('ark.cert'), ask: await file('ask.cert'), askKey };
}

const startAnew =
  'remove the folder to make a new authority; processors that the old one endorsed must be made anew too';

/** Failures of the file system, as this project's own error. */
async function inFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof VouchsafeError) throw error;
    const reason = error instanceof Error ? error.message : 'it failed';
    throw new UnavailableError('development authority', `${folder} cannot be used: ${reason}`, {
      hint: startAnew,
      cause: error,
    });
  }
}
