import { concat } from '@vouchsafe/sev';

/**
 * A program for a real virtual machine, as the first sector of its disk: it sends a line over its first serial port,
 * compares what comes back with the beginning that is expected, reads on to the line feed, and ends QEMU (device
 * isa-debug-exit at port 0xf4) with status 33 when it was the same, 3 when it was not.
 */
export function bootSector(line: string, expected: string): Uint8Array {
  const [text, beginning] = [ascii(line), ascii(expected)];
  const code = assemble((label) => [
    [0xfa, 0x31, 0xc0, 0x8e, 0xd8], // cli; xor ax, ax; mov ds, ax
    [0xbe, ...label('text')], // mov si, text
    'send',
    [0xac, 0x84, 0xc0, 0x74, label('receive', 1)], // lodsb; test al, al; jz receive
    [0x88, 0xc4, 0xba, 0xfd, 0x03], // mov ah, al; mov dx, 0x3fd
    'wait',
    [0xec, 0xa8, 0x20, 0x74, label('wait', 1)], // in al, dx; test al, 0x20; jz wait
    [0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee], // mov al, ah; mov dx, 0x3f8; out dx, al
    [0xeb, label('send', 1)], // jmp send
    'receive',
    [0xbe, ...label('beginning')], // mov si, beginning
    'next',
    [0xba, 0xfd, 0x03], // mov dx, 0x3fd
    'empty',
    [0xec, 0xa8, 0x01, 0x74, label('empty', 1)], // in al, dx; test al, 1; jz empty
    [0xba, 0xf8, 0x03, 0xec], // mov dx, 0x3f8; in al, dx
    [0x8a, 0x24, 0x84, 0xe4, 0x74, label('rest', 1)], // mov ah, [si]; test ah, ah; jz rest
    [0x46, 0x38, 0xe0, 0x74, label('next', 1)], // inc si; cmp al, ah; je next
    [0xb0, 0x01, 0xeb, label('exit', 1)], // mov al, 1; jmp exit
    'rest',
    [0x3c, 0x0a, 0x75, label('next', 1)], // cmp al, 10; jne next
    [0xb0, 0x10], // mov al, 0x10
    'exit',
    [0xe6, 0xf4, 0xf4], // out 0xf4, al; hlt
    'text',
    [...text, 0],
    'beginning',
    [...beginning, 0],
  ]);
  if (code.length > 510) throw new Error(`${code.length} bytes are too many for a boot sector`);
  return concat(code, new Uint8Array(510 - code.length), Uint8Array.of(0x55, 0xaa));
}

type Part = string | readonly (number | Relative)[];
/** A jump to a label, as a distance of one byte. */
interface Relative {
  readonly to: string;
}
interface Label {
  (name: string): readonly [number, number];
  (name: string, size: 1): Relative;
}

/** Twice: the first time to learn where the labels are. */
function assemble(parts: (label: Label) => readonly Part[]): Uint8Array {
  const places = new Map<string, number>();
  const label = ((name: string, size?: 1) => {
    const address = 0x7c00 + (places.get(name) ?? 0);
    return size === 1 ? { to: name } : [address & 0xff, address >> 8];
  }) as Label;
  const pass = () => {
    const bytes: number[] = [];
    for (const part of parts(label)) {
      if (typeof part === 'string') places.set(part, bytes.length);
      else
        for (const each of part) bytes.push(typeof each === 'number' ? each : distance(each, bytes.length));
    }
    return bytes;
  };
  const distance = ({ to }: Relative, at: number) => ((places.get(to) ?? 0) - at - 1) & 0xff;
  pass();
  return Uint8Array.from(pass());
}

const ascii = (text: string) => new TextEncoder().encode(text);
