/** A table whose cells may hold anything. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ').trim();
}

export function code(text: string): string {
  return `\`${text}\``;
}

/** `0x1a`, as wide as the largest number of its column. */
export function hexadecimal(value: number, largest: number): string {
  return `0x${value.toString(16).padStart(largest.toString(16).length, '0')}`;
}

/** The anchor that a heading gets on the usual hosts. */
export function anchor(heading: string): string {
  const kept = heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '');
  return kept.replaceAll(/\s/g, '-');
}
