import { toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import { parseCertificate, type X509Certificate } from '../x509/certificate.js';
import { nameText } from '../x509/name.js';
import { publicKeyText, rsaKeyText } from '../x509/public-key.js';
import { authorityIdentity, type EndorsementRoot, endorsementRules } from './endorsement-rules.js';

/** AMD's roots. Fingerprints: computed from the certificates of AMD's key distribution service. */
export const amdEndorsementRoots: readonly EndorsementRoot[] = [
  {
    ...endorsementRules('amd', 'Milan'),
    arkSha256: '69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd',
  },
  {
    ...endorsementRules('amd', 'Genoa'),
    arkSha256: '4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1',
  },
  {
    ...endorsementRules('amd', 'Turin'),
    arkSha256: '1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a',
  },
];

/**
 * The trust anchor of a development root, from its ARK's certificate in DER.
 * @throws MalformedError; InvalidArgumentError when the certificate does not name itself a development ARK
 */
export async function developmentEndorsementRoot(arkDer: Uint8Array): Promise<EndorsementRoot> {
  const ark = parseCertificate(arkDer, { offset: 0, path: 'development root' });
  const identity = authorityIdentity(ark.subject.attributes);
  if (identity?.kind !== 'development' || identity.role !== 'ARK') {
    throw new InvalidArgumentError(
      'development root',
      `expected a Vouchsafe Development ARK, found ${nameText(ark.subject.attributes)}`,
      {
        hint: 'AMD’s roots are trusted without naming them; a development root is made by `vouchsafe kds serve`',
      },
    );
  }
  const rules = endorsementRules('development', identity.line);
  const expected = rsaKeyText(rules.modulusBits, rules.exponent);
  if (publicKeyText(ark.publicKey) !== expected)
    throw new InvalidArgumentError(
      'development root',
      `expected ${expected}, found ${publicKeyText(ark.publicKey)}`,
    );
  return { ...rules, arkSha256: await certificateFingerprint(ark) };
}

/** SHA-256 of a certificate in DER, lower-case hexadecimal: what roots are pinned by. */
export async function certificateFingerprint({ raw }: Pick<X509Certificate, 'raw'>): Promise<string> {
  return toHex(await digest('sha256', raw));
}
