import * as protocol from '@vouchsafe/protocol';
import * as sev from '@vouchsafe/sev';
import { type AnyBits, type AnyStructure, bitsOf, messagesOf, structuresOf } from '../exports.js';
import { SeededRandom } from './mutate.js';
import { agentReaders } from './readers/agent.js';
import { guestMessageReaders } from './readers/guest-messages.js';
import { imageReaders } from './readers/images.js';
import { initDataReaders } from './readers/init-data.js';
import { keyProviderReaders } from './readers/key-provider.js';
import type { Parser } from './run.js';
import { certificateSeeds, chainFileSeeds } from './seeds/certificates.js';
import { messageSeeds } from './seeds/messages.js';
import {
  certificateTableSeeds,
  idAuthenticationSeeds,
  idBlockSeed,
  snpContainerSeeds,
  snpReportSeeds,
} from './seeds/snp.js';
import { acceptedBytes } from './seeds/structures.js';
import { x509Seeds } from './seeds/x509.js';

/** Every structure that is declared with the codec, read from bytes. Seeds come from the declaration. */
export function structureReaders(): Parser[] {
  const declared = [...structuresOf(sev), ...structuresOf(protocol)];
  const structures = declared.map(([name, structure]) => structureReader(name, structure));
  const words = [...bitsOf(sev), ...bitsOf(protocol)].map(([name, bits]) => bitsReader(name, bits));
  return [...structures, ...words];
}

function structureReader(name: string, structure: AnyStructure): Parser {
  return {
    name,
    seeds: [acceptedBytes(structure)],
    parse(bytes) {
      const parsed = structure.parse(bytes);
      structure.toJson(parsed);
      structure.describe(parsed);
    },
  };
}

function bitsReader(name: string, bits: AnyBits): Parser {
  const parse = (bytes: Uint8Array) => bits.toText(bits.parse(wordOf(bytes)));
  return { name, seeds: [new Uint8Array(bits.width / 8)], parse };
}

const wordOf = (bytes: Uint8Array) => bytes.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);
const utf8 = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A reader of text: mutations of its bytes are decoded first, as whatever reads a file or a socket would. */
const ofText = (name: string, seeds: readonly string[], parse: (text: string) => unknown): Parser => ({
  name,
  seeds: seeds.map(utf8),
  parse: (bytes) => parse(textOf(bytes)),
});

/** A policy file that names something of every kind. */
const reportPolicySeed = JSON.stringify({
  measurements: ['8922ebbd'.repeat(12)],
  vmpl: 0,
  policy: { smt: false },
  minimumTcb: { reported: { bootloader: 4, snp: 24, microcode: 217 } },
  platformInfo: { aliasCheckComplete: true },
  allowProvisional: true,
});

const initDataSeed =
  'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = \'\'\'\n[kbs]\nurl = "x"\n\'\'\'\n';

/** Evidence of each version of the report, with a certificate of each kind. */
function snpEvidenceSeeds(): string[] {
  const certificates = Object.entries(sev.certificateTableGuids).map(([kind, guid]) => ({
    kind: kind as keyof typeof sev.certificateTableGuids,
    guid,
    bytes: Uint8Array.of(1, 2, 3),
  }));
  return snpReportSeeds().map((report) =>
    protocol.jsonText(protocol.snpEvidenceJson({ report, certificates })),
  );
}

/** A firmware image as OVMF lays it out, with every entry that we know, and one that we do not. */
function firmwareSeeds(): Uint8Array[] {
  const footer = sev.buildFirmwareFooter([
    sev.resetBlockEntry(0x80b004),
    sev.secretAreaEntry({ base: 0x80d000, size: 0x1000 }),
    sev.hashTableAreaEntry({ base: 0x80e000, size: 0x400 }),
    { guid: '00112233-4455-6677-8899-aabbccddeeff', data: new SeededRandom(5).bytes(24) },
    { guid: sev.firmwareFooterGuids.sevMetadata, data: Uint8Array.of(0x00, 0x06, 0, 0) },
  ]);
  const image = new Uint8Array(4096);
  image.set(footer, image.length - 32 - footer.length);
  const metadata = new DataView(image.buffer, image.length - 0x600);
  image.set(utf8('ASEV'), image.length - 0x600);
  metadata.setUint32(4, 16 + 2 * 12, true);
  metadata.setUint32(8, 1, true);
  metadata.setUint32(12, 2, true);
  for (const [i, word] of [0x800000, 0x9000, 1, 0x80d000, 0x1000, 2].entries())
    metadata.setUint32(16 + 4 * i, word, true);
  return [image];
}

function secretTableSeeds(): Uint8Array[] {
  const table = sev.buildSecretTable([
    { guid: sev.wellKnownSecretGuids.luksKey, data: utf8('a pass-phrase') },
    { guid: '00112233-4455-6677-8899-aabbccddeeff', data: new Uint8Array(0) },
  ]);
  return [sev.openSecret(table).slice()];
}

/** Certificates, revocation lists, and what stands in their extensions. */
function x509Readers(): Parser[] {
  const { certificates, lists, certificatePem, listPem, pem, scope } = x509Seeds;
  const own = (
    name: string,
    seeds: readonly Uint8Array[],
    parse: (bytes: Uint8Array) => unknown,
  ): Parser => ({
    name,
    seeds,
    parse,
  });
  const ofExtension = (name: string, seed: Uint8Array, parse: (extension: sev.X509Extension) => unknown) =>
    own(name, [seed], (value) => parse({ oid: '', critical: false, value, offset: 0 }));
  const { oids } = sev;
  return [
    own('parseCertificate', certificates, (bytes) => {
      const { subject, publicKey, signatureAlgorithm, notAfter } = sev.parseCertificate(bytes);
      sev.authorityIdentity(subject.attributes);
      return [
        sev.publicKeyText(publicKey),
        sev.signatureAlgorithmText(signatureAlgorithm),
        sev.timeText(notAfter),
      ];
    }),
    own('parseVek', certificates.slice(1), (bytes) => sev.parseVek(sev.parseCertificate(bytes))),
    own('parseRevocationList', lists, (bytes) => sev.parseRevocationList(bytes)),
    own('readCertificates', [...certificates, utf8(certificatePem)], (bytes) => sev.readCertificates(bytes)),
    own('readRevocationLists', [...lists, utf8(listPem)], (bytes) => sev.readRevocationLists(bytes)),
    ofText('parsePem', [pem], (text) => sev.parsePem(text, 'CERTIFICATE')),
    ofText('parsePemBlocks', [pem], (text) => sev.parsePemBlocks(text)),
    ofExtension(
      'parseBasicConstraints',
      x509Seeds.extension(oids.basicConstraints),
      sev.parseBasicConstraints,
    ),
    ofExtension('parseKeyUsage', x509Seeds.extension(oids.keyUsage), sev.parseKeyUsage),
    ofExtension('parseSubjectKeyId', x509Seeds.extension(oids.subjectKeyIdentifier), sev.parseSubjectKeyId),
    ofExtension(
      'parseAuthorityKeyId',
      x509Seeds.extension(oids.authorityKeyIdentifier),
      sev.parseAuthorityKeyId,
    ),
    ofExtension(
      'parseCrlDistributionPoints',
      x509Seeds.extension(oids.crlDistributionPoints),
      sev.parseCrlDistributionPoints,
    ),
    ofExtension('parseListScope', scope.value, sev.parseListScope),
  ];
}

/**
 * Every function that reads what someone else wrote. `readers.test.ts` fails when an exported `parse…` of the ground
 * floor or of the protocol is not here.
 */
export function parserReaders(): Parser[] {
  const own = (
    name: string,
    seeds: readonly Uint8Array[],
    parse: (bytes: Uint8Array) => unknown,
  ): Parser => ({
    name,
    seeds,
    parse,
  });
  const structureSeed = (structure: unknown) => [acceptedBytes(structure as AnyStructure)];
  return [
    own('parseSevCertificate', certificateSeeds().sev, (bytes) => sev.parseSevCertificate(bytes)),
    own('parseAmdCaCertificate', certificateSeeds().amdCa, (bytes) => sev.parseAmdCaCertificate(bytes)),
    own('parseChainFiles', chainFileSeeds(), (bytes) => sev.parseChainFiles([{ name: 'input', bytes }])),
    own('parseGuestPolicy', [Uint8Array.of(5, 0, 0, 24)], (bytes) => {
      sev.explainGuestPolicy(sev.parseGuestPolicy(Number(BigInt.asUintN(40, wordOf(bytes)))).word);
    }),
    own('parseLaunchMeasurement', [new Uint8Array(48)], (bytes) => sev.parseLaunchMeasurement(bytes)),
    own('parseAttestationReport', structureSeed(sev.attestationReport), (bytes) =>
      sev.parseAttestationReport(bytes),
    ),
    own('parseFirmwareFooter', firmwareSeeds(), (bytes) => sev.parseFirmwareFooter(bytes)),
    own('parseHashesTable', structureSeed(sev.hashesTable), (bytes) => sev.parseHashesTable(bytes)),
    own('parseSecretTable', secretTableSeeds(), (bytes) => sev.parseSecretTable(bytes)),
    own('readSecretTableLength', secretTableSeeds(), (bytes) => sev.readSecretTableLength(bytes)),
    own('parseTcbVersion', [new Uint8Array(8)], (bytes) => {
      sev.formatTcb(sev.parseTcbVersion(bytes, 'milan'));
      sev.formatTcb(sev.parseTcbVersion(bytes, 'turin'));
    }),
    ofText('parseReportPolicy', [reportPolicySeed], sev.parseReportPolicy),
    own('parseSnpReport', snpReportSeeds(), (bytes) => sev.parseSnpReport(bytes)),
    own('findSnpReport', snpContainerSeeds(), (bytes) => sev.findSnpReport(bytes)),
    own('parseCertificateTable', certificateTableSeeds(), (bytes) => {
      const entries = sev.parseCertificateTable(bytes);
      sev.endorsementsOfTable(entries, 'VCEK');
      sev.processorOfTable(entries);
    }),
    own('parseIdBlock', [idBlockSeed()], (bytes) => sev.parseIdBlock(bytes)),
    own('parseIdAuthentication', idAuthenticationSeeds(), (bytes) => sev.parseIdAuthentication(bytes)),
    ...guestMessageReaders(),
    own('parseSnpGuestPolicy', [Uint8Array.of(0, 0, 3)], (bytes) => {
      sev.explainSnpPolicy(sev.parseSnpGuestPolicy(wordOf(bytes)).word);
    }),
    own('parseSnpPlatformInfo', [Uint8Array.of(0x65)], (bytes) => sev.parseSnpPlatformInfo(wordOf(bytes))),
    own('parseSignerInfo', [Uint8Array.of(4, 0, 0, 0)], (bytes) =>
      sev.parseSignerInfo(Number(BigInt.asUintN(40, wordOf(bytes)))),
    ),
    ...x509Readers(),
    ofText('fromHex', ['', '00ff7aA0', '0123456789abcdef'], (text) => sev.fromHex(text)),
    ofText('fromBase64', ['', 'AAECAwQ=', 'AAEC\nAwQF\n'], (text) => sev.fromBase64(text)),
    ofText('guidToBytes', ['00112233-4455-6677-8899-aabbccddeeff'], (text) => sev.guidToBytes(text)),
    ofText('parseStrictJson', ['{"a":[1,-2.5e3,{"b":null,"c\\u00e9":18446744073709551615}]}'], (text) =>
      protocol.jsonText(protocol.parseStrictJson('input', text)),
    ),
    ofText('parseSnpEvidence', snpEvidenceSeeds(), (text) =>
      protocol.parseSnpEvidence(protocol.parseStrictJson('evidence', text)),
    ),
    ofText('parseInitData', [initDataSeed], protocol.parseInitData),
    ...initDataReaders(),
    ofText('parseResourcePath', ['default/key/disk-1.bin'], protocol.parseResourcePath),
    ofText('parseResourceAddress', ['kbs:///default/key/disk-1.bin'], protocol.parseResourceAddress),
    ...agentReaders(),
    ...imageReaders(),
    ...keyProviderReaders(),
    ...messagesOf(protocol).map(([name, message]) =>
      ofText(name, messageSeeds[name] ?? [], (text) => message.parseText(text)),
    ),
  ];
}
