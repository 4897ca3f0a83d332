import { open } from 'node:fs/promises';
import { UnavailableError } from '@vouchsafe/sev';

/** Memory at an address that the kernel can be told. */
export interface NativeBuffer {
  readonly address: bigint;
  /** The memory itself: what the kernel writes is seen here. Not to be touched after `free`. */
  readonly bytes: Uint8Array;
  free(): void;
}

/** An open device. The real one calls into libc; tests put a machine of their own behind it. */
export interface IoctlDevice {
  /** Copies the bytes to memory that stays where it is. */
  place(bytes: Uint8Array): NativeBuffer;
  /** Resolves to 0, or to the name of the errno, for example `EIO`. */
  ioctl(request: bigint, argument: bigint): Promise<0 | string>;
  close(): Promise<void>;
}

export type OpenIoctlDevice = (path: string) => Promise<IoctlDevice>;

/**
 * Opens a device for ioctl, for writing where that is allowed: reading a status needs no more than reading.
 * @throws NodeJS.ErrnoException when it cannot be opened, UnavailableError when this platform has no ioctl for us
 */
export const openIoctlDevice: OpenIoctlDevice = async (path) => {
  const native = await loadNative();
  const file = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES' || error.code === 'EPERM' || error.code === 'EROFS') return open(path, 'r');
    throw error;
  });
  return {
    place: native.place,
    ioctl: (request, argument) => native.ioctl(file.fd, request, argument),
    close: () => file.close(),
  };
};

/** koffi is loaded when a device is opened, so that everything else runs where it has no binary. */
async function loadNative() {
  try {
    const { default: koffi } = await import('koffi');
    const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, uintptr_t argument)');
    const nameOf = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
    return {
      place(bytes: Uint8Array): NativeBuffer {
        const pointer: unknown = koffi.alloc('uint8_t', bytes.length);
        const memory = new Uint8Array(koffi.view(pointer, bytes.length));
        memory.set(bytes);
        return { address: koffi.address(pointer), bytes: memory, free: () => koffi.free(pointer) };
      },
      // The secure processor takes seconds to make keys: the call waits on a thread of its own.
      ioctl: (fd: number, request: bigint, argument: bigint) =>
        new Promise<0 | string>((resolve, reject) => {
          ioctl.async(fd, request, argument, (error: unknown, result: number) => {
            if (error) return reject(error);
            const number = koffi.errno();
            resolve(result >= 0 ? 0 : (nameOf.get(number) ?? `errno ${number}`));
          });
        }),
    };
  } catch (cause) {
    throw new UnavailableError('ioctl', 'the foreign function library cannot be loaded here', {
      hint: 'koffi ships its binary inside npm for Linux on x64 and arm64: reinstall with `npm ci`, without --omit=optional',
      cause,
    });
  }
}
