import { InvalidArgumentError } from '../errors.js';

export interface VcpuModel {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

const naples = { family: 23, model: 1, stepping: 2 };
const rome = { family: 23, model: 49, stepping: 0 };
const milan = { family: 25, model: 1, stepping: 1 };
const genoa = { family: 25, model: 17, stepping: 0 };
const turin = { family: 26, model: 0, stepping: 0 };

/** QEMU's EPYC models. The processor starts with this signature in RDX, so it is part of what is measured. */
export const vcpuTypes: Readonly<Record<string, VcpuModel>> = {
  EPYC: naples,
  'EPYC-v1': naples,
  'EPYC-v2': naples,
  'EPYC-v3': naples,
  'EPYC-v4': naples,
  'EPYC-v5': naples,
  'EPYC-IBPB': naples,
  'EPYC-Rome': rome,
  'EPYC-Rome-v1': rome,
  'EPYC-Rome-v2': rome,
  'EPYC-Rome-v3': rome,
  'EPYC-Rome-v4': rome,
  'EPYC-Rome-v5': rome,
  'EPYC-Milan': milan,
  'EPYC-Milan-v1': milan,
  'EPYC-Milan-v2': milan,
  'EPYC-Milan-v3': milan,
  'EPYC-Genoa': genoa,
  'EPYC-Genoa-v1': genoa,
  'EPYC-Genoa-v2': genoa,
  'EPYC-Turin': turin,
};

/**
 * CPUID function 1, EAX, of a processor: families over 15 go on in the extended family, models over 15 in the extended
 * model.
 * @throws InvalidArgumentError when a number does not fit: family 0 to 270, model 0 to 255, stepping 0 to 15
 */
export function vcpuSignature({ family, model, stepping }: VcpuModel): number {
  requireRange('family', family, 0xf + 0xff);
  requireRange('model', model, 0xff);
  requireRange('stepping', stepping, 0xf);
  const baseFamily = Math.min(family, 0xf);
  const extendedFamily = family - baseFamily;
  return (extendedFamily << 20) | ((model >> 4) << 16) | (baseFamily << 8) | ((model & 0xf) << 4) | stepping;
}

/**
 * The signature of one of QEMU's models.
 * @throws InvalidArgumentError for a name that is not in {@link vcpuTypes}
 */
export function vcpuSignatureOf(type: string): number {
  const model = Object.hasOwn(vcpuTypes, type) ? vcpuTypes[type] : undefined;
  if (model === undefined) {
    const hint = `known types: ${Object.keys(vcpuTypes).join(', ')}; or give a signature, or family, model and stepping`;
    throw new InvalidArgumentError('vCPU type', `${JSON.stringify(type)} is not known`, { hint });
  }
  return vcpuSignature(model);
}

function requireRange(name: string, value: number, largest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > largest) {
    throw new InvalidArgumentError(`vCPU ${name}`, `expected a number from 0 to ${largest}, found ${value}`);
  }
}
