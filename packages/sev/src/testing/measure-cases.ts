import type { VmmType } from '../launch/vmm-types.js';
import { hasVectors, jsonVector } from './vectors.js';

/** One of the published launch digests in `snp/measure/cases.json`. Files that it calls “empty file” have no bytes. */
export interface MeasureCase {
  readonly id: string;
  readonly mode: 'sev' | 'seves' | 'snp' | 'snp:svsm' | 'snp:ovmf-hash';
  readonly ovmf: string;
  readonly svsm?: string;
  readonly varsSize?: number;
  readonly vcpus?: number;
  readonly vmm?: VmmType;
  readonly vcpuType?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly guestFeatures?: string;
  readonly ovmfHash?: string;
  /** Hexadecimal digits, or `ERROR: ` and why. */
  readonly expected: string;
}

export function measureCases(): readonly MeasureCase[] {
  return hasVectors ? jsonVector<MeasureCase[]>('snp/measure/cases.json') : [];
}
