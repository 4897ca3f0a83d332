import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ImageDescriptor,
  type ImageIndex,
  type ImageManifest,
  imageIndex,
  imageLayout,
  imageManifest,
  imageManifestType,
  jsonText,
  largestImageDocument,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';

const nameAnnotation = 'org.opencontainers.image.ref.name';
const pieceSize = 1024 * 1024;

/** A blob that was written: what a descriptor needs. */
export interface WrittenBlob {
  readonly digest: string;
  readonly size: number;
}

export interface NamedManifest {
  /** In the index; absent where the image has none. */
  readonly name?: string;
  /** How the index names it. */
  readonly descriptor: ImageDescriptor;
  readonly manifest: ImageManifest;
}

/**
 * A folder in the OCI image layout: blobs under their digests, and an index that names the manifests. What is read is
 * compared with its digest; the folder itself is trusted with nothing.
 */
export class OciLayout {
  readonly folder: string;
  readonly #written = new Set<string>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws UnavailableError when the folder is none, MalformedError when it is of another version */
  static async open(folder: string): Promise<OciLayout> {
    const layout = new OciLayout(folder);
    imageLayout.parseText(await layout.#text('oci-layout'));
    return layout;
  }

  /** Opens a layout, or makes an empty one where there is nothing. */
  static async create(folder: string): Promise<OciLayout> {
    if (await isThere(join(folder, 'oci-layout'))) return OciLayout.open(folder);
    const layout = new OciLayout(folder);
    await writing(folder, async () => {
      await mkdir(layout.#blobs, { recursive: true });
      await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
      await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [] }));
    });
    return layout;
  }

  /**
   * The manifest of an image. Without a name there has to be one image only.
   * @throws InvalidArgumentError when there is no such image, or several, or one for several platforms
   * @throws MalformedError when the manifest is not what the index says
   */
  async image(name?: string): Promise<NamedManifest> {
    const { manifests } = await this.#index();
    const named = name === undefined ? manifests : manifests.filter((each) => nameOf(each) === name);
    const [descriptor, second] = named;
    if (descriptor === undefined || second !== undefined) {
      const names = manifests.map(nameOf).filter((each) => each !== undefined);
      const found = descriptor === undefined ? 'no image' : `${named.length} images`;
      throw new InvalidArgumentError('image', `${this.folder} has ${found} ${name ?? ''}`.trimEnd(), {
        hint: names.length === 0 ? 'its images have no names' : `name one: ${names.slice(0, 20).join(', ')}`,
      });
    }
    if (descriptor.mediaType !== imageManifestType) {
      throw new InvalidArgumentError('image', `it is ${JSON.stringify(descriptor.mediaType.slice(0, 100))}`, {
        hint: 'expected the image of one platform: `skopeo copy` without --all takes one out',
      });
    }
    const bytes = await this.#document(descriptor);
    const manifest = imageManifest.parseText(new TextDecoder().decode(bytes));
    const found = nameOf(descriptor);
    return { descriptor, manifest, ...(found === undefined ? {} : { name: found }) };
  }

  /**
   * The pieces of a blob as they stand in the folder, compared with nothing.
   * @throws UnavailableError
   */
  async *pieces(digest: string): AsyncGenerator<Uint8Array> {
    const path = this.#path(digest);
    let file: FileHandle;
    try {
      file = await open(path, 'r');
    } catch (error) {
      throw failure(error, `cannot read ${path}`);
    }
    try {
      const [one, other] = [new Uint8Array(pieceSize), new Uint8Array(pieceSize)];
      // The next piece is read while this one is worked on.
      let reading = file.read(one, 0, pieceSize);
      for (let buffer = one, next = other; ; [buffer, next] = [next, buffer]) {
        const { bytesRead } = await reading;
        if (bytesRead === 0) return;
        reading = file.read(next, 0, pieceSize);
        // Nobody waits for it when the reader of the pieces stops early.
        reading.catch(() => undefined);
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  /**
   * Writes a blob from pieces that `work` hands on. It becomes visible under the digest that `work` resolves to, and not
   * at all when `work` throws. Pieces may be changed once the promise for them has resolved.
   */
  async writeBlob(
    work: (write: (piece: Uint8Array) => Promise<void>) => Promise<WrittenBlob>,
  ): Promise<WrittenBlob> {
    const partial = join(this.#blobs, `.${randomUUID()}`);
    const file = await writing(this.folder, async () => {
      await mkdir(this.#blobs, { recursive: true });
      return open(partial, 'wx');
    });
    try {
      const blob = await work((piece) => writing(this.folder, () => file.writeFile(piece)));
      await file.close();
      const path = this.#path(blob.digest);
      if (!(await isThere(path))) this.#written.add(path);
      await writing(this.folder, () => rename(partial, path));
      return blob;
    } catch (error) {
      await file.close().catch(() => undefined);
      await rm(partial, { force: true });
      throw error;
    }
  }

  /** Copies a blob of another layout. @throws MalformedError when it is not what its descriptor says */
  async copyBlob(from: OciLayout, { digest, size }: ImageDescriptor): Promise<void> {
    await this.writeBlob(async (write) => {
      const hash = createHash('sha256');
      let length = 0;
      for await (const piece of from.pieces(digest)) {
        length += piece.length;
        hash.update(piece);
        if (length > size) break;
        await write(piece);
      }
      const found = `sha256:${hash.digest('hex')}`;
      if (length !== size || found !== digest) throw notAsNamed(digest, size, found, length);
      return { digest, size };
    });
  }

  /** Writes a manifest and names it in the index; an image that had the name has it no longer. */
  async putImage(manifest: ImageManifest, name: string | undefined): Promise<WrittenBlob> {
    const bytes = new TextEncoder().encode(jsonText(imageManifest.toJson(manifest)));
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const blob = await this.writeBlob(async (write) => {
      await write(bytes);
      return { digest, size: bytes.length };
    });
    const index = await this.#index();
    const others = index.manifests.filter((each) => nameOf(each) !== name || name === undefined);
    const annotations = name === undefined ? {} : { annotations: { [nameAnnotation]: name } };
    const descriptor = { mediaType: imageManifestType, ...blob, ...annotations };
    const text = jsonText(imageIndex.toJson({ ...index, manifests: [...others, descriptor] }));
    const partial = join(this.folder, `.${randomUUID()}`);
    await writing(this.folder, async () => {
      await writeFile(partial, text);
      await rename(partial, join(this.folder, 'index.json'));
    });
    return blob;
  }

  /** Takes the blobs that were written through this object away again, where work on an image broke off. */
  async undo(): Promise<void> {
    for (const path of this.#written) await rm(path, { force: true });
    this.#written.clear();
  }

  get #blobs(): string {
    return join(this.folder, 'blobs', 'sha256');
  }

  /** A digest that was read is `sha256:` and hexadecimal digits: no way out of the folder. */
  #path(digest: string): string {
    return join(this.#blobs, digest.slice('sha256:'.length));
  }

  async #index(): Promise<ImageIndex> {
    return imageIndex.parseText(await this.#text('index.json'));
  }

  async #text(name: string): Promise<string> {
    return new TextDecoder().decode(await this.#whole(join(this.folder, name)));
  }

  async #document({ digest, size }: ImageDescriptor): Promise<Uint8Array> {
    const bytes = await this.#whole(this.#path(digest));
    const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    if (bytes.length !== size || found !== digest) throw notAsNamed(digest, size, found, bytes.length);
    return bytes;
  }

  async #whole(path: string): Promise<Uint8Array> {
    try {
      const { size } = await stat(path);
      if (size > largestImageDocument) {
        throw new MalformedError({
          structure: 'image document',
          field: path,
          offset: 0,
          expected: `at most ${largestImageDocument} bytes`,
          found: `${size}`,
        });
      }
      return await readFile(path);
    } catch (error) {
      throw failure(error, `cannot read ${path}`);
    }
  }
}

const nameOf = ({ annotations }: ImageDescriptor) => annotations?.[nameAnnotation];

function notAsNamed(digest: string, size: number, found: string, length: number): MalformedError {
  return new MalformedError(
    {
      structure: 'image layout',
      field: `blob ${digest}`,
      offset: 0,
      expected: `${size} bytes with that digest`,
      found: `${length} bytes, ${found}`,
    },
    { hint: 'the blob was changed or cut off: copy the image again' },
  );
}

const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

async function writing<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failure(error, `cannot write into ${folder}`);
  }
}

function failure(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error;
  const code = 'code' in error ? String(error.code) : 'failed';
  const hint = code === 'ENOENT' ? 'expected a folder in the OCI image layout' : undefined;
  return new UnavailableError('image layout', `${what}: the system answered ${code}`, { hint, cause: error });
}
