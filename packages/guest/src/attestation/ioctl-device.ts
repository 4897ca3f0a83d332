import { open } from 'node:fs/promises';
import { UnavailableError } from '@vouchsafe/sev';

/** Memory at an address that the kernel can be told. */
export interface PlacedBytes {
  readonly address: bigint;
  /** The memory itself: what the kernel writes is seen here. Not to be touched after `free`. */
  readonly bytes: Uint8Array;
  /** Overwrites the memory with zeros and gives it back. */
  free(): void;
}

/** An open device that is spoken to with ioctl. */
export interface GuestIoctlDevice {
  /** Copies the bytes to memory that stays where it is. */
  place(bytes: Uint8Array): PlacedBytes;
  /** Resolves to 0, or to the name of the errno, for example `EIO`. */
  ioctl(request: number, argument: bigint): Promise<0 | string>;
  close(): Promise<void>;
}

/**
 * Opens a device. The foreign function library is loaded only now, so that everything else runs where it has no binary.
 * @throws NodeJS.ErrnoException when it cannot be opened, UnavailableError when this platform has no ioctl for us
 */
export async function openGuestIoctlDevice(path: string): Promise<GuestIoctlDevice> {
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw new UnavailableError('ioctl', 'the foreign function library cannot be loaded here', {
      hint: 'koffi ships its binary inside npm for Linux on x64 and arm64: reinstall with `npm ci`, without --omit=optional',
      cause,
    });
  });
  const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, uintptr_t argument)');
  const nameOf = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const file = await open(path, 'r+');
  return {
    place(bytes) {
      const pointer: unknown = koffi.alloc('uint8_t', bytes.length);
      const memory = new Uint8Array(koffi.view(pointer, bytes.length));
      memory.set(bytes);
      return {
        address: koffi.address(pointer),
        bytes: memory,
        free() {
          memory.fill(0);
          koffi.free(pointer);
        },
      };
    },
    // The driver waits up to a minute for a host that is busy: the call waits on a thread of its own.
    ioctl: (request, argument) =>
      new Promise<0 | string>((resolve, reject) => {
        ioctl.async(file.fd, request, argument, (error: unknown, result: number) => {
          if (error) return reject(error);
          const number = koffi.errno();
          resolve(result >= 0 ? 0 : (nameOf.get(number) ?? `errno ${number}`));
        });
      }),
    close: () => file.close(),
  };
}
