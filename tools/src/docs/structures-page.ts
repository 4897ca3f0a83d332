import * as sev from '@vouchsafe/sev';
import { type AnyBits, type AnyStructure, bitsOf, structuresOf } from '../exports.js';
import { anchor, code, hexadecimal, table } from './markdown.js';

/** Every wire structure and every word with named bits, from the declarations that also read and write them. */
export function structuresPage(): string {
  const structures = structuresOf(sev).toSorted(
    ([, a], [, b]) => a.name.localeCompare(b.name, 'en') || a.size - b.size,
  );
  const words = bitsOf(sev).toSorted(([, a], [, b]) => a.name.localeCompare(b.name, 'en'));
  const names = structures.map(([, { name }]) => name);
  const headingOf = ({ name, size }: AnyStructure) =>
    names.indexOf(name) === names.lastIndexOf(name) ? name : `${name}, ${size} bytes`;
  const headings = [...structures.map(([, each]) => headingOf(each)), ...words.map(([, { name }]) => name)];
  const contents = headings.map((heading) => `- [${heading}](#${anchor(heading)})`);
  return [
    '# Structures',
    'Integers are little-endian. Offsets and sizes are in bytes. Bytes that a row does not accept are refused, with the offset.',
    contents.join('\n'),
    ...structures.map(([exported, structure]) => structureSection(exported, structure, headingOf(structure))),
    '# Words with named bits',
    ...words.map(([exported, bits]) => bitsSection(exported, bits)),
  ].join('\n\n');
}

function structureSection(exported: string, structure: AnyStructure, heading: string): string {
  const rows = Object.entries(structure.fields)
    .toSorted(([, a], [, b]) => a.offset - b.offset)
    .map(([name, row]) => [
      hexadecimal(row.offset, structure.size),
      String(row.size),
      row.format,
      row.presence === 'reserved' ? '' : code(name),
      row.unit === undefined ? row.meaning : `${row.meaning} (${row.unit})`,
      row.accepts ?? '',
    ]);
  const size = `${code(exported)}, ${structure.size} (0x${structure.size.toString(16)}) bytes. Source: ${structure.source}.`;
  return [
    `## ${heading}`,
    size,
    table(['offset', 'size', 'format', 'name', 'meaning', 'accepts'], rows),
  ].join('\n\n');
}

function bitsSection(exported: string, bits: AnyBits): string {
  const ranges = Object.entries(bits.ranges) as [
    string,
    { low: number; width: number; label: string; meaning: string },
  ][];
  const rows = ranges.map(([name, { low, width, label, meaning }]) => [
    width === 1 ? String(low) : `${low + width - 1}:${low}`,
    label,
    code(name),
    meaning,
  ]);
  const undeclared = bits.reservedMask === 0n ? '' : ` Reserved bits: 0x${bits.reservedMask.toString(16)}.`;
  const size = `${code(exported)}, ${bits.width} bits. Source: ${bits.source}.${undeclared}`;
  return [`## ${bits.name}`, size, table(['bits', 'label', 'name', 'meaning'], rows)].join('\n\n');
}
