import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import {
  type AuthorityRole,
  developmentEndorsementRoot,
  developmentEndorsementRules,
  type EndorsementRoot,
  encodeCertificate,
  encodePem,
  encodeRevocationList,
  equalBytes,
  type Generation,
  InvalidArgumentError,
  isOnP384,
  newAuthorityCertificate,
  newVekCertificate,
  type P384PublicKey,
  type ProductLine,
  parseCertificate,
  type TcbVersion,
  toHex,
  type Vek,
  type VekKind,
} from '@vouchsafe/sev';
import { generateAuthorityKey, readKey, rsaPublicKeyOf, signPss, writeKey } from '../authority-keys.js';
import {
  makePrivateFolder,
  readIfThere,
  requirePrivate,
  writeOnce,
  writePrivately,
} from '../private-folder.js';
import {
  day,
  keyIdOf,
  type Revocation,
  revocationListOf,
  serials,
  validityFor,
} from './authority-certificates.js';
import { type EndorsementRequest, endorsementPath, vcekRequest } from './endorsement-request.js';

/** A VEK's public key, and what is to be certified about it. */
interface NewVek {
  readonly line: ProductLine;
  readonly tcb: TcbVersion;
  readonly publicKey: P384PublicKey;
}

/** The SEV-SNP side of a development authority: X.509, with the same ARK and ASK keys as the older form. */
export interface EndorsementAuthority {
  readonly line: ProductLine;
  /** Certificates in DER. */
  readonly ark: Uint8Array;
  readonly ask: Uint8Array;
  /** The trust anchor to give to a verifier that is to accept this authority's processors. */
  readonly root: EndorsementRoot;
  /** The certificate in DER; its key is made at the first call. */
  asvk(): Promise<Uint8Array>;
  /**
   * Certifies a chip's key for one TCB version, and keeps the certificate to be served. The same again gives the same.
   * @param chip `chipId`: 64 bytes; for Turin also 8
   * @throws InvalidArgumentError for another product line, or when another key was certified for this chip and version
   */
  endorseVcek(chip: NewVek & { readonly chipId: Uint8Array }): Promise<Uint8Array>;
  /**
   * Certifies a cloud operator's key for one TCB version. Served are those of {@link developmentCspId}.
   * @throws InvalidArgumentError as `endorseVcek`
   */
  endorseVlek(operator: NewVek & { readonly cspId?: string }): Promise<Uint8Array>;
  /** Puts the ASK or the ASVK onto the revocation lists, for good: to see who notices. */
  revoke(role: 'ASK' | 'ASVK'): Promise<void>;
  /** What AMD's service would send. */
  findEndorsement(request: EndorsementRequest): Promise<Uint8Array | undefined>;
}

/** The cloud operator whose VLEKs are served; AMD tells operators apart by their TLS certificates. */
export const developmentCspId = 'CN=cloud.vouchsafe.invalid';

export interface EndorsementAuthorityParts {
  /** The authority's folder, with `ark.key` and `ask.key` in it. */
  readonly folder: string;
  readonly generation: Generation;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

const lines: Partial<Record<Generation, ProductLine>> = { milan: 'Milan', genoa: 'Genoa', turin: 'Turin' };

/** Undefined for a generation without SEV-SNP. Certificates that are missing are made, so that an older folder serves too. */
export async function openEndorsementAuthority({
  folder,
  generation,
  now,
}: EndorsementAuthorityParts): Promise<EndorsementAuthority | undefined> {
  const line = lines[generation];
  if (line === undefined) return undefined;
  const rules = developmentEndorsementRules(line);
  const file = (name: string) => join(folder, name);
  const issued = file('vek');
  const arkKey = await keyOf(file('ark.key'));
  const arkPublicKey = rsaPublicKeyOf(generation, arkKey);
  const signWith = (key: KeyObject) => (bytes: Uint8Array) => signPss(generation, key, bytes);

  async function authorityCertificate(role: AuthorityRole, key: KeyObject): Promise<Uint8Array> {
    const path = file(`${role.toLowerCase()}.der`);
    const found = await readIfThere(path);
    if (found !== undefined) return found;
    const publicKey = rsaPublicKeyOf(generation, key);
    const certificate = newAuthorityCertificate(rules, {
      role,
      serial: serials[role],
      publicKey,
      keyId: await keyIdOf(publicKey),
      issuerKeyId: await keyIdOf(arkPublicKey),
      ...validityFor('authority', now()),
    });
    return writeOnce(path, await encodeCertificate(certificate, signWith(arkKey)));
  }

  const askKey = await keyOf(file('ask.key'));
  const ark = await authorityCertificate('ARK', arkKey);
  const ask = await authorityCertificate('ASK', askKey);

  async function asvkKey(): Promise<KeyObject> {
    const path = file('asvk.key');
    if ((await readIfThere(path)) === undefined)
      await writeOnce(path, writeKey(await generateAuthorityKey(generation)));
    return keyOf(path);
  }
  const asvk = async () => authorityCertificate('ASVK', await asvkKey());

  async function endorse(vek: Vek, name: string, publicKey: P384PublicKey): Promise<Uint8Array> {
    if (vek.line !== line)
      throw new InvalidArgumentError('product line', `this authority endorses ${line}, not ${vek.line}`);
    if (!(await isOnP384(publicKey)))
      throw new InvalidArgumentError('public key', 'it is not a point of P-384');
    const before = await readIfThere(join(issued, name));
    if (before !== undefined) {
      const { publicKey: known, notAfter } = parseCertificate(before);
      if (!('x' in known && equalBytes(known.x, publicKey.x) && equalBytes(known.y, publicKey.y))) {
        throw new InvalidArgumentError('public key', `another one was endorsed as this ${vek.kind}`, {
          hint: 'a key is derived from the chip and its TCB version: manufacture a new chip for a new key',
        });
      }
      if (now() <= notAfter) return before;
    }
    const signer = vek.kind === 'VCEK' ? askKey : await asvkKey();
    const fields = newVekCertificate(rules, { vek, publicKey, ...validityFor(vek.kind, now()) });
    const certificate = await encodeCertificate(fields, signWith(signer));
    await makePrivateFolder(issued);
    await writePrivately(join(issued, name), certificate);
    return certificate;
  }

  async function revocations(): Promise<Revocation[]> {
    const found: Revocation[] = [];
    for (const role of ['ASK', 'ASVK'] as const) {
      const text = await readIfThere(file(`${role.toLowerCase()}.revoked`));
      if (text !== undefined) found.push({ role, revokedAt: Number(new TextDecoder().decode(text)) * 1000 });
    }
    return found;
  }

  let latest: { readonly bytes: Uint8Array; readonly at: number; readonly about: string } | undefined;

  /** Both services give the same list: all that the ARK revoked. A new one each day, and when something was revoked. */
  async function revocationList(of: ProductLine): Promise<Uint8Array> {
    const revoked = await revocations();
    const [at, about] = [now(), JSON.stringify(revoked)];
    const isRecent =
      latest !== undefined && latest.about === about && at >= latest.at && at < latest.at + day;
    if (latest === undefined || !isRecent) {
      const list = await revocationListOf(of, revoked, arkPublicKey, at);
      const bytes = await encodeRevocationList(list, signWith(arkKey));
      latest = { bytes, at, about };
    }
    return latest.bytes;
  }

  async function chain(kind: VekKind): Promise<Uint8Array> {
    const signer = kind === 'VCEK' ? ask : await asvk();
    return new TextEncoder().encode(encodePem('CERTIFICATE', signer) + encodePem('CERTIFICATE', ark));
  }

  return {
    line,
    ark,
    ask,
    root: await developmentEndorsementRoot(ark),
    asvk,
    async endorseVcek({ line: of, chipId, tcb, publicKey }) {
      const request = vcekRequest({ line: of, chipId, tcb });
      const productName = of === 'Milan' ? 'Milan-B0' : of;
      const vek: Vek = { kind: 'VCEK', line: of, productName, tcb, hwid: request.hwid };
      return endorse(vek, vekName(request), publicKey);
    },
    async endorseVlek({ line: of, tcb, publicKey, cspId = developmentCspId }) {
      const vek: Vek = { kind: 'VLEK', line: of, productName: of, tcb, cspId };
      return endorse(vek, vekName({ what: 'vlek', line: of, tcb }, cspId), publicKey);
    },
    async revoke(role) {
      await writeOnce(file(`${role.toLowerCase()}.revoked`), `${Math.floor(now() / 1000)}`);
    },
    async findEndorsement(request) {
      if (request.line !== line) return undefined;
      if (request.what === 'chain') return chain(request.kind);
      if (request.what === 'crl') return revocationList(line);
      return readIfThere(join(issued, vekName(request)));
    },
  };
}

async function keyOf(path: string): Promise<KeyObject> {
  await requirePrivate(path);
  return readKey(new TextDecoder().decode((await readIfThere(path)) ?? new Uint8Array()));
}

/** A file's name for a certificate: its path at the service, and for VLEKs the operator. */
function vekName(request: EndorsementRequest, cspId = developmentCspId): string {
  const path = endorsementPath(request)
    .slice(1)
    .replace(/[^A-Za-z0-9]+/g, '_');
  return request.what === 'vlek' ? `${path}_${toHex(new TextEncoder().encode(cspId))}.der` : `${path}.der`;
}
