import { type Appraisal, Appraiser, checkTable, RefusedError } from '@vouchsafe/sev';

/** What is looked at before a decrypted image is handed over. */
export const encryptedImageChecks = checkTable({
  'image.manifest': {
    title: 'manifest is the expected one',
    protects:
      'a host could drop, swap or replace layers, or change the command in the configuration, which is not encrypted',
    hint: 'it is another image than the one that was expected: compare its digest with the one that the owner published',
    kind: 'expectation',
  },
  'image.encrypted': {
    title: 'every layer is encrypted',
    protects: 'a host could put a layer of its own into the image, in plain text',
    hint: 'if the owner left a layer in plain text on purpose, allow it by name, and expect the manifest’s digest',
    kind: 'authenticity',
  },
  'layer.key-id': {
    title: 'keys of the expected repositories',
    protects:
      'a host could put in a layer that it encrypted itself, with a key that the broker keeps for others',
    hint: 'the packet names a key of another owner: pull the image again',
    kind: 'expectation',
  },
  'layer.key': {
    title: 'layer’s packet opens under the key that it names',
    protects: 'a packet that was altered could give another key or another digest',
    hint: 'the packet was altered, or made with another key: pull the image again',
    kind: 'authenticity',
  },
  'layer.digest': {
    title: 'layer is the blob that the manifest names',
    protects: 'a blob could be replaced or cut off on its way',
    hint: 'pull the image again',
    kind: 'authenticity',
  },
  'layer.hmac': {
    title: 'ciphertext of the layer as its owner made it',
    protects: 'whoever keeps the image could flip bits of the content, and change the digest to match',
    hint: 'the layer or its annotations were altered: pull the image again from a place that you trust',
    kind: 'authenticity',
  },
  'layer.content': {
    title: 'content of the layer has the digest in its packet',
    protects: 'a layer could come out as another one than went in',
    hint: 'the image was not encrypted from the layer that its packet names: encrypt it again',
    kind: 'authenticity',
  },
});
export type EncryptedImageCheck = keyof typeof encryptedImageChecks;

/** The checks that are made for each layer, in this order. */
export const layerChecks = [
  'layer.key-id',
  'layer.key',
  'layer.digest',
  'layer.hmac',
  'layer.content',
] as const;
type LayerCheck = (typeof layerChecks)[number];

/** Collects the checks of an image layer by layer. The first that fails ends it. */
export class LayerAppraisal {
  readonly #appraiser = new Appraiser<EncryptedImageCheck>('encrypted image', encryptedImageChecks);
  readonly #notAsked = new Set<EncryptedImageCheck>();

  notAsked(id: EncryptedImageCheck, hint: string): void {
    this.#appraiser.notAsked(id, hint);
    this.#notAsked.add(id);
  }

  /** A check of the image as a whole. @throws RefusedError */
  image(id: 'image.manifest' | 'image.encrypted', passed: boolean, expected: string, found: string): void {
    if (!this.#appraiser.report(id, passed, { expected, found })) this.#refuse('the image');
  }

  /** A check of one layer, in the order of {@link layerChecks}. @throws RefusedError */
  layer(id: LayerCheck, passed: boolean, layer: string, expected: string, found: string): void {
    if (passed) return;
    this.#passAll(layerChecks.slice(0, layerChecks.indexOf(id)));
    this.#appraiser.report(id, false, { expected, found: `${layer}: ${found}` });
    this.#refuse(layer);
  }

  /** After the last layer. */
  finish(): Appraisal {
    this.#passAll(layerChecks);
    return this.#appraiser.finish();
  }

  #passAll(ids: readonly LayerCheck[]): void {
    for (const id of ids) {
      if (!this.#notAsked.has(id))
        this.#appraiser.report(id, true, { expected: 'so for every layer', found: 'the same' });
    }
  }

  #refuse(what: string): never {
    this.#appraiser.abandon(`${what} was refused before`);
    throw new RefusedError(this.#appraiser.finish());
  }
}
