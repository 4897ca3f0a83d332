import { concat, fromBase64, type Generation } from '@vouchsafe/sev';

/**
 * AMD published the Naples ARK without the signature at its end: its file is 832 + 576 bytes long. These are the 256
 * bytes that are missing, AMD's own, in the order of the certificate (least significant byte first). They verify under
 * the key in that ARK, and everybody who reads the file appends them: the copies in virtee/sev are complete in the same way.
 */
const missingSignature = fromBase64(`
guWtjLis8Euw9PBBZfO5+HGvpNGGWt0R14OsYZi8EyPCaFlB/XZCKRdZI1NDHhF0yvZEleO3zAGq/arAZBUw199zG4mQLJbHeNGaZ5oP1IaRWZ2X
f0yx9CG5VOOuY7F40lXPUFR7kXDRUymVkRnAkqyKv+VKihfQwdQih6SwDt7RILxMK5QH0YUeD5NsH73L63t88dYYRm1v0xdztlYA379/9u3L+/7A
Ibvr3hqksHAQRaG0jbBW6XNqjnXPE3uNPnUAmq1ajSaH+cBpdFSATWc8SRvOfQnqjaOD61uYdxBiO10arncvDgRoiX9b8jbMNWpQA/ekniwWOf7W
NUJ8VQ==
`);

const publishedLength = 832 + 576;

/** The Naples bundle as it should be; anything else as it is. */
export function withNaplesSignature(generation: Generation, bundle: Uint8Array): Uint8Array {
  return generation === 'naples' && bundle.length === publishedLength
    ? concat(bundle, missingSignature)
    : bundle;
}
