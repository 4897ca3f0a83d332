import { concat } from '../bytes.js';
import { bytesField, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { MalformedError } from '../errors.js';

const source = 'edk2 OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm';

const signature = new TextEncoder().encode('ASEV');

const metadataHeader = structure(
  { name: 'SEV metadata', size: 16, source },
  {
    signature: bytesField(0, 4, '“ASEV”', { default: signature }),
    length: u32(4, 'length of header and descriptors', { unit: 'bytes' }),
    version: u32(8, 'version of the format', { equals: 1 }),
    count: u32(12, 'number of descriptors'),
  },
);

const metadataDescriptor = structure(
  { name: 'SEV metadata descriptor', size: 12, source },
  {
    gpa: u32(0, 'guest physical address'),
    size: u32(4, 'size of the section', { unit: 'bytes' }),
    type: u32(
      8,
      'kind of the section: 1 zeroed memory, 2 secrets, 3 CPUID, 4 SVSM calling area, 16 kernel hashes',
    ),
  },
);

/** One piece of guest memory that a SEV-SNP launch prepares besides the firmware image. */
export interface FirmwareMetadataSection {
  /** Guest physical address. */
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  /** As in the image; kinds that are not known are for the launch to refuse. */
  readonly type: number;
}

export interface FirmwareMetadata {
  /** In the image. */
  readonly offset: number;
  /** In the order in which they are launched and measured. */
  readonly sections: readonly FirmwareMetadataSection[];
}

/** Where descriptor `index` begins in the image. */
export function metadataDescriptorOffset(metadata: FirmwareMetadata, index: number): number {
  return metadata.offset + metadataHeader.size + index * metadataDescriptor.size;
}

/**
 * Reads the SEV metadata of an OVMF image.
 * @param distance of its first byte from the end of the image
 * @throws MalformedError when it is not inside the image or contradicts itself
 */
export function readFirmwareMetadata(image: Uint8Array, distance: number): FirmwareMetadata {
  const refuse = (field: string, at: number, expected: string, found: string): never => {
    throw new MalformedError({ structure: metadataHeader.name, field, offset: at, expected, found });
  };
  if (distance > image.length) {
    refuse('distance', image.length, `at most ${image.length} bytes`, `${distance} bytes`);
  }
  const offset = image.length - distance;
  const header = metadataHeader.parseAt(image, offset);
  if (header.signature.some((byte, i) => byte !== signature[i])) {
    refuse('signature', offset, '“ASEV”', 'other bytes');
  }
  const length = metadataHeader.size + header.count * metadataDescriptor.size;
  // Before any descriptor is read: a count of millions must not cost memory.
  if (header.length !== length || length > distance) {
    const at = offset + metadataHeader.offsetOf('length');
    refuse('length', at, `room for ${header.count} descriptors inside the image`, `${header.length} bytes`);
  }
  const sections = Array.from({ length: header.count }, (_, i) => {
    const at = offset + metadataHeader.size + i * metadataDescriptor.size;
    const { gpa, size, type } = metadataDescriptor.parseAt(image, at);
    return { gpa, size, type };
  });
  return { offset, sections };
}

/** The metadata of the given sections, in this order: 16 bytes and 12 for each. */
export function buildFirmwareMetadata(sections: readonly FirmwareMetadataSection[]): Uint8Array {
  const length = metadataHeader.size + sections.length * metadataDescriptor.size;
  return concat(
    metadataHeader.build({ length, count: sections.length }),
    ...sections.map((section) => metadataDescriptor.build(section)),
  );
}
