import {
  equalBytes,
  fromHex,
  InvalidArgumentError,
  isProductLine,
  isZero,
  kdsParameters,
  type ProductLine,
  type TcbVersion,
  tcbLayout,
  toHex,
  type VekKind,
} from '@vouchsafe/sev';

/** The certificate of one chip's key for one TCB version. */
export interface VcekRequest {
  readonly what: 'vcek';
  readonly line: ProductLine;
  /** 64 bytes; 8 for Turin and later. */
  readonly hwid: Uint8Array;
  readonly tcb: TcbVersion;
}

/** The certificate of a cloud operator's key. AMD answers on port 444 and to the operator's client certificate only. */
export interface VlekRequest {
  readonly what: 'vlek';
  readonly line: ProductLine;
  readonly tcb: TcbVersion;
}

/** ASK and ARK for VCEKs, ASVK and ARK for VLEKs; or the ARK's revocation list for the same. */
export interface AuthorityRequest {
  readonly what: 'chain' | 'crl';
  readonly kind: VekKind;
  readonly line: ProductLine;
}

/** What the key distribution service is asked for SEV-SNP. Its path is its name: in a cache, in a bundle, on the wire. */
export type EndorsementRequest = VcekRequest | VlekRequest | AuthorityRequest;

const hwidLength = (line: ProductLine) => (tcbLayout(line) === 'turin' ? 8 : 64);

/**
 * The request for the VCEK that signs reports of a chip.
 * @param chip `chipId`: the 64 bytes of a report's CHIP_ID; for Turin also the 8 bytes that matter of them
 * @throws InvalidArgumentError for a masked chip id, one of another length, and a TCB version of another product line
 */
export function vcekRequest(chip: {
  readonly line: ProductLine;
  readonly chipId: Uint8Array;
  readonly tcb: TcbVersion;
}): VcekRequest {
  const { line, chipId, tcb } = chip;
  if (isZero(chipId)) {
    throw new InvalidArgumentError('chip id', 'it is masked: all bytes are zero', {
      hint: 'the platform hides its chip id (MASK_CHIP_ID): take the VCEK from the host’s certificate table',
    });
  }
  const length = hwidLength(line);
  const hwid = chipId.slice(0, length);
  const fits = chipId.length === length || (chipId.length === 64 && isZero(chipId.subarray(length)));
  if (!fits) {
    const found = chipId.length === 64 ? '64 bytes that are not zero to the end' : `${chipId.length}`;
    throw new InvalidArgumentError('chip id', `${line} has ${length} bytes, found ${found}`);
  }
  requireTcb(line, tcb);
  return { what: 'vcek', line, hwid, tcb };
}

/** @throws InvalidArgumentError for a TCB version of another product line, or beyond 0 to 255 */
function requireTcb(line: ProductLine, tcb: TcbVersion): void {
  const withFmc = tcbLayout(line) === 'turin';
  if (withFmc !== (tcb.fmc !== undefined)) {
    throw new InvalidArgumentError('TCB version', `${line} has ${withFmc ? 'an' : 'no'} FMC component`);
  }
  for (const [name, value] of kdsParameters(tcb)) {
    if (!Number.isInteger(value) || value < 0 || value > 255)
      throw new InvalidArgumentError('TCB version', `expected 0 to 255 for ${name}, found ${value}`);
  }
}

/**
 * The path with its query, in one form only: lower-case digits, numbers without leading zeros, parameters in AMD's order.
 * @throws InvalidArgumentError for a request that is none
 */
export function endorsementPath(request: EndorsementRequest): string {
  const { line } = request;
  if ('kind' in request) {
    const file = request.what === 'chain' ? 'cert_chain' : 'crl';
    return `/${request.kind === 'VCEK' ? 'vcek' : 'vlek'}/v1/${line}/${file}`;
  }
  requireTcb(line, request.tcb);
  const query = kdsParameters(request.tcb)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  return request.what === 'vcek'
    ? `/vcek/v1/${line}/${toHex(vcekRequest({ line, chipId: request.hwid, tcb: request.tcb }).hwid)}?${query}`
    : `/vlek/v1/${line}/cert?${query}`;
}

const shape =
  /^\/(vcek|vlek)\/v1\/([A-Za-z]{1,16})\/(cert_chain|crl|cert|[0-9a-fA-F]{16}|[0-9a-fA-F]{128})(?:\?(.*))?$/;

/**
 * Reads a path with its query as clients write it: numbers padded with zeros or not, parameters in any order, each once,
 * none beside them. Undefined for everything else.
 */
export function readEndorsementPath(path: string): EndorsementRequest | undefined {
  const [, service, line = '', name = '', query] = shape.exec(path) ?? [];
  if (service === undefined || !isProductLine(line)) return undefined;
  if (name === 'cert_chain' || name === 'crl') {
    if (query !== undefined) return undefined;
    return { what: name === 'crl' ? 'crl' : 'chain', kind: service === 'vcek' ? 'VCEK' : 'VLEK', line };
  }
  const tcb = readTcb(line, query ?? '');
  if (tcb === undefined || (service === 'vlek') !== (name === 'cert')) return undefined;
  if (name === 'cert') return { what: 'vlek', line, tcb };
  const hwid = fromHex(name);
  return hwid.length === hwidLength(line) && !isZero(hwid) ? { what: 'vcek', line, hwid, tcb } : undefined;
}

const componentOf: Readonly<Record<string, keyof TcbVersion>> = {
  fmcSPL: 'fmc',
  blSPL: 'bootloader',
  teeSPL: 'tee',
  snpSPL: 'snp',
  ucodeSPL: 'microcode',
};

function readTcb(line: ProductLine, query: string): TcbVersion | undefined {
  const values: Partial<Record<keyof TcbVersion, number>> = {};
  for (const pair of query.split('&')) {
    const [, name = '', digits = ''] = /^([A-Za-z]{1,8})=([0-9]{1,3})$/.exec(pair) ?? [];
    const component = Object.hasOwn(componentOf, name) ? componentOf[name] : undefined;
    if (component === undefined || values[component] !== undefined || Number(digits) > 255) return undefined;
    values[component] = Number(digits);
  }
  const { fmc, bootloader, tee, snp, microcode } = values;
  if ((tcbLayout(line) === 'turin') !== (fmc !== undefined)) return undefined;
  if (bootloader === undefined || tee === undefined || snp === undefined || microcode === undefined)
    return undefined;
  return { ...(fmc === undefined ? {} : { fmc }), bootloader, tee, snp, microcode };
}

/** For people: `the VCEK of chip 0123456789abcdef…`, `the revocation list of ARK-Milan for VLEKs`. */
export function requestText(request: EndorsementRequest): string {
  if (request.what === 'vcek') return `the VCEK of ${request.line} chip ${toHex(request.hwid).slice(0, 16)}…`;
  if (request.what === 'vlek') return `the VLEK of ${request.line}`;
  if (request.what === 'crl') return `the revocation list of ARK-${request.line} for ${request.kind}s`;
  return `${request.kind === 'VCEK' ? 'ASK' : 'ASVK'} and ARK of ${request.line}`;
}

/** Whether two hardware ids are the same. */
export const sameHwid = (a: Uint8Array | undefined, b: Uint8Array) => a !== undefined && equalBytes(a, b);
