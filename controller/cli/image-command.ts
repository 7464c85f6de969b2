import { NAMED } from './format.js';
import type { ImageOptions } from './image-send.js';
import { option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';

export const IMAGE: Noun = {
  name: 'image',
  about: 'images that VMs are made of, kept by the controller',
  verbs: [
    verb({
      name: 'list',
      about: 'the images that the controller has',
      formats: NAMED,
      examples: ['domherd image list', 'domherd image list -o name'],
      run: async (call) => (await import('./image-action.js')).listImages(call),
    }),
    verb({
      name: 'add',
      args: '<file|url>',
      about: 'give the controller an image beforehand; vm create --image does it by itself',
      formats: NAMED,
      options: [option('--sha256 <hex>', 'what its bytes must have')],
      examples: ['domherd image add debian-12.qcow2', 'domherd image add https://images.example.org/debian-12.qcow2'],
      run: async (call, [source = ''], options: ImageOptions) =>
        (await import('./image-action.js')).addImage(call, source, options),
    }),
    verb({
      name: 'delete',
      args: '<image>',
      about: 'delete an image from the controller; VMs that were made of it stay',
      formats: [],
      options: [yesOption()],
      examples: ['domherd image delete 3f2a9c01d4e8', 'domherd image delete debian-12.qcow2 --yes'],
      run: async (call, [image = ''], options: { yes?: boolean }) =>
        (await import('./image-action.js')).deleteImage(call, image, options),
    }),
  ],
};
