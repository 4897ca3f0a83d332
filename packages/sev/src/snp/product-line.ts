import { InvalidArgumentError } from '../errors.js';
import { vcpuSignature } from '../launch/vcpu-types.js';

/** The product lines of AMD's key distribution service: each has a root of its own. */
export const productLines = ['Milan', 'Genoa', 'Turin', 'Venice'] as const;
export type ProductLine = (typeof productLines)[number];

export function isProductLine(name: string): name is ProductLine {
  return (productLines as readonly string[]).includes(name);
}

/** Family and model as CPUID gives them combined: family 0x19, model 0xA0, not their base and extended parts. */
export interface ProcessorModel {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

export interface Product {
  readonly line: ProductLine;
  /** What the processors of these models are sold as. */
  readonly marketing: string;
}

interface ModelRange extends Product {
  readonly family: number;
  readonly models: readonly [first: number, last: number];
}

const modelRanges: readonly ModelRange[] = [
  { family: 0x19, models: [0x00, 0x0f], line: 'Milan', marketing: 'Milan or Milan-X' },
  { family: 0x19, models: [0x10, 0x1f], line: 'Genoa', marketing: 'Genoa or Genoa-X' },
  { family: 0x19, models: [0xa0, 0xaf], line: 'Genoa', marketing: 'Bergamo or Siena' },
  { family: 0x1a, models: [0x00, 0x11], line: 'Turin', marketing: 'Turin or Turin Dense' },
  { family: 0x1a, models: [0x50, 0x57], line: 'Venice', marketing: 'Venice' },
  { family: 0x1a, models: [0x90, 0x9f], line: 'Venice', marketing: 'Venice' },
  { family: 0x1a, models: [0xa0, 0xaf], line: 'Venice', marketing: 'Venice' },
  { family: 0x1a, models: [0xc0, 0xc7], line: 'Venice', marketing: 'Venice' },
];

/**
 * The product line of a processor; undefined for models that none is known for. Models are matched by range, so that
 * Bergamo and Siena, whose keys are certified under Genoa, are found. The stepping does not matter.
 */
export function productLineOfCpuid({ family, model }: Omit<ProcessorModel, 'stepping'>): Product | undefined {
  const range = modelRanges.find(
    (each) => each.family === family && model >= each.models[0] && model <= each.models[1],
  );
  return range && { line: range.line, marketing: range.marketing };
}

/**
 * CPUID function 1, EAX, of a processor.
 * @throws InvalidArgumentError when a number does not fit: family 0 to 270, model 0 to 255, stepping 0 to 15
 */
export function cpuidSignature(processor: ProcessorModel): number {
  return vcpuSignature(processor);
}

/**
 * The processor that CPUID function 1, EAX, names. Bits beside family, model and stepping are ignored.
 * @throws InvalidArgumentError when `signature` is not an unsigned number of 32 bits
 */
export function processorOfSignature(signature: number): ProcessorModel {
  if (!Number.isInteger(signature) || signature < 0 || signature > 0xffff_ffff) {
    throw new InvalidArgumentError('CPUID signature', 'expected an unsigned number of 32 bits');
  }
  const baseFamily = (signature >>> 8) & 0xf;
  const extendedFamily = (signature >>> 20) & 0xff;
  const extendedModel = (signature >>> 16) & 0xf;
  return {
    family: baseFamily === 0xf ? baseFamily + extendedFamily : baseFamily,
    model: (extendedModel << 4) | ((signature >>> 4) & 0xf),
    stepping: signature & 0xf,
  };
}
