import { findSnpReport, fromHex, MalformedError } from '@vouchsafe/sev';
import { printableText, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

/** A report as a file holds it, with the certificates that some files carry beside it. */
export interface EvidenceFile {
  /** 1184 bytes, not yet read. */
  readonly report: Uint8Array;
  /** How the file was written, in words: `report, hexadecimal`. */
  readonly form: string;
  /** The host's certificate table, not yet read. */
  readonly certificateTable?: Uint8Array;
  /** The certificate of the key that signed, in DER or PEM, not yet read. */
  readonly vek?: Uint8Array;
}

/**
 * Reads a report from what tools write: the report, the firmware's whole answer, the container of Azure's vTPM; each raw,
 * as hexadecimal or as base64; and the JSON documents of configfs-tsm clients and of Azure's attestation clients.
 * @throws MalformedError, UnavailableError
 */
export async function readEvidence(path: string, io: Io): Promise<EvidenceFile> {
  const content = await readInput(path, 'attestation report', io);
  const text = printableText(content)?.trim();
  if (text === undefined || text === '') return found(content, 'raw');
  if (text.startsWith('{')) return fromDocument(text);
  const hex = text.replace(/^0x/i, '').replaceAll(/\s/g, '');
  if (/^(?:[0-9a-fA-F]{2})+$/.test(hex)) return found(fromHex(hex), 'hexadecimal');
  return found(anyBase64(text.replaceAll(/\s/g, ''), 'file', 'the text'), 'base64');
}

function found(bytes: Uint8Array, encoding: string): EvidenceFile {
  const { form, report, certificateTable } = findSnpReport(bytes);
  return {
    report,
    form: `${form}, ${encoding}`,
    ...(certificateTable === undefined ? {} : { certificateTable }),
  };
}

/** Every member that may stand in a document that we know; others may stand beside them. */
interface Known {
  readonly name: string;
  /** The member that holds the report, whatever it is wrapped in. */
  readonly report: string;
  readonly certificateTable?: string;
  readonly vek?: string;
}

const documents: readonly Known[] = [
  { name: 'TSM evidence', report: 'outblob', certificateTable: 'auxblob' },
  { name: 'Azure evidence', report: 'hcl_report', vek: 'vcek' },
];

function fromDocument(text: string): EvidenceFile {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw refuse('JSON evidence', 'document', 'JSON', 'text that is none', cause);
  }
  const members = document as Readonly<Record<string, unknown>>;
  const known = documents.find(({ report }) => Object.hasOwn(members, report));
  if (known === undefined) {
    const names = documents.map(({ report }) => report).join(' or ');
    throw refuse('JSON evidence', 'document', `the member ${names}`, 'neither');
  }
  const { provider } = members;
  if (typeof provider === 'string' && provider.trim() !== 'sev_guest')
    throw refuse(known.name, 'provider', 'sev_guest', JSON.stringify(provider.slice(0, 40)));
  const bytesOf = (name: string | undefined) => {
    const value = name === undefined ? undefined : members[name];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'string') throw refuse(known.name, name!, 'base64', typeof value);
    return anyBase64(value, known.name, name!);
  };
  const report = bytesOf(known.report);
  if (report === undefined) throw refuse(known.name, known.report, 'base64', 'nothing');
  const certificateTable = bytesOf(known.certificateTable);
  const vek = bytesOf(known.vek);
  return {
    ...found(report, known.name),
    ...(certificateTable === undefined ? {} : { certificateTable }),
    ...(vek === undefined ? {} : { vek }),
  };
}

/** Base64 of both alphabets, with padding or without: evidence in JSON comes in all of these. */
function anyBase64(given: string, structure: string, field: string): Uint8Array {
  const bare = given.replace(/=+$/, '');
  const bytes = Uint8Array.from(Buffer.from(bare, 'base64url'));
  // Node drops what it cannot read; only text that comes back whole was base64.
  const standard = bare.replaceAll('+', '-').replaceAll('/', '_');
  if (Buffer.from(bytes).toString('base64url') === standard) return bytes;
  throw refuse(structure, field, 'a report: raw, hexadecimal, base64 or a JSON document', 'none of them');
}

function refuse(structure: string, field: string, expected: string, foundText: string, cause?: unknown) {
  return new MalformedError({ structure, field, offset: 0, expected, found: foundText }, { cause });
}
