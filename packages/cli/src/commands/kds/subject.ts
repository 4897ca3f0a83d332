import { type EndorsementRequest, requestsForReport, requestText, vcekRequest } from '@vouchsafe/kds';
import {
  fromHex,
  InvalidArgumentError,
  type ProductLine,
  parseSnpReport,
  productLines,
  type TcbComponent,
  type TcbVersion,
  tcbComponents,
} from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { choice, grouped, parsed, path, repeated } from '../../frame/options.js';
import { readEvidence } from '../report/evidence-file.js';

/** Options that say whose endorsement is meant, for SEV-SNP. */
export const subjectOptions = grouped('SEV-SNP', {
  product: choice('--product <line>', 'product line; Bergamo and Siena are of Genoa', productLines),
  key: choice('--key <kind>', 'the kind of signing key that chain or list is for', ['VCEK', 'VLEK'] as const),
  tcb: parsed(
    '--tcb <parts>',
    'TCB version of the VCEK, every component: bootloader=4,tee=0,snp=24,microcode=217, for Turin fmc=1 too',
    readTcb,
  ),
});

/** A chip's id: all that GET_ID gives, or the 8 bytes that AMD's service takes for Turin. */
export const chipIdOption = parsed(
  '--chip-id <hex>',
  'the 64 bytes of GET_ID or of a report; 8 are enough for Turin',
  (given, name) => {
    const id = fromHex(given.replace(/^0x/i, ''), name);
    if (id.length === 64 || id.length === 8) return id;
    throw new InvalidArgumentError(name, `expected 64 bytes, or 8 for Turin, found ${id.length}`);
  },
);

export const reportOption = path(
  '--report <file>',
  'take product line, chip and TCB version from this report; --product where it does not say',
);
export const reportsOption = repeated(reportOption);

export interface Subject {
  readonly product: ProductLine | undefined;
  readonly key: 'VCEK' | 'VLEK' | undefined;
  readonly chipId: Uint8Array | undefined;
  readonly tcb: TcbVersion | undefined;
}

/** What verifying takes: the key's certificate where the service has it, its chain and its revocation list. */
export interface SubjectRequests {
  readonly vek: EndorsementRequest | undefined;
  readonly chain: EndorsementRequest;
  readonly crl: EndorsementRequest;
}

/** @throws InvalidArgumentError, MalformedError */
export async function requestsOfReport(
  file: string,
  { product }: Pick<Subject, 'product'>,
  io: Io,
): Promise<SubjectRequests> {
  const { report } = await readEvidence(file, io);
  return requestsForReport(parseSnpReport(report, { line: product }));
}

/** @throws InvalidArgumentError when the options do not say enough */
export function requestsOfOptions({
  product: line,
  key: kind = 'VCEK',
  chipId,
  tcb,
}: Subject): SubjectRequests {
  if (line === undefined) {
    throw new InvalidArgumentError('--product', 'it has to be given', {
      hint: 'or give --report, which says all that is needed',
    });
  }
  if ((chipId === undefined) !== (tcb === undefined)) {
    const missing = chipId === undefined ? '--chip-id' : '--tcb';
    throw new InvalidArgumentError(missing, 'a VCEK is that of one chip for one TCB version: give both');
  }
  return {
    vek: chipId === undefined || tcb === undefined ? undefined : vcekRequest({ line, chipId, tcb }),
    chain: { what: 'chain', kind, line },
    crl: { what: 'crl', kind, line },
  };
}

/** For people: the name with a capital letter. */
export function titleOf(request: EndorsementRequest): string {
  const text = requestText(request);
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

function readTcb(given: string, name: string): TcbVersion {
  const values: Partial<Record<TcbComponent, number>> = {};
  for (const part of given.split(',')) {
    const [, key = '', value = ''] = /^([a-z]+)=(\d{1,3})$/.exec(part.trim()) ?? [];
    const component = tcbComponents.find((each) => each === key);
    if (component === undefined || Number(value) > 255 || values[component] !== undefined)
      throw new InvalidArgumentError(
        name,
        `expected each of ${tcbComponents.join(', ')} at most once, as in snp=24`,
      );
    values[component] = Number(value);
  }
  const { fmc, bootloader, tee, snp, microcode } = values;
  if (bootloader === undefined || tee === undefined || snp === undefined || microcode === undefined) {
    throw new InvalidArgumentError(name, 'a component is missing: keys differ for every TCB version', {
      hint: 'give bootloader, tee, snp and microcode, and for Turin fmc',
    });
  }
  return { ...(fmc === undefined ? {} : { fmc }), bootloader, tee, snp, microcode };
}
