import {
  InvalidArgumentError,
  isZero,
  type ProductLine,
  type SnpAttestationReport,
  type TcbVersion,
  type VekKind,
} from '@vouchsafe/sev';
import { type EndorsementRequest, type VcekRequest, vcekRequest } from './endorsement-request.js';

/** What verifying a report takes from the key distribution service. */
export interface ReportRequests {
  readonly kind: VekKind;
  readonly line: ProductLine;
  /**
   * Undefined where the host has to hand the certificate over: a VLEK, which AMD gives to the cloud operator only, and
   * the VCEK of a chip whose id is masked.
   */
  readonly vek: VcekRequest | undefined;
  readonly chain: EndorsementRequest;
  readonly crl: EndorsementRequest;
}

/** The parts of a report that say where its endorsement is. */
export interface EndorsedReport extends Pick<SnpAttestationReport, 'chipId' | 'signerInfo'> {
  readonly line?: ProductLine | undefined;
  readonly reportedTcb: TcbVersion;
}

/**
 * The requests for a report's endorsement. The VEK is derived for the reported TCB version, not for the current one.
 * @throws InvalidArgumentError when the report was not signed or its product line is not known
 */
export function requestsForReport(report: EndorsedReport): ReportRequests {
  const { line, chipId, reportedTcb: tcb, signerInfo } = report;
  const { signingKey } = signerInfo;
  if (signingKey !== 'VCEK' && signingKey !== 'VLEK')
    throw new InvalidArgumentError('report', `it was signed with ${signingKey}: nothing endorses that`);
  if (line === undefined) {
    throw new InvalidArgumentError('report', 'it does not say of which product line its processor is', {
      hint: 'reports of version 2 do not: name the product line',
    });
  }
  return {
    kind: signingKey,
    line,
    vek: signingKey === 'VCEK' && !isZero(chipId) ? vcekRequest({ line, chipId, tcb }) : undefined,
    chain: { what: 'chain', kind: signingKey, line },
    crl: { what: 'crl', kind: signingKey, line },
  };
}
