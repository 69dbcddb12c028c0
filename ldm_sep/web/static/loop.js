// A loop over part of a sound. `player` has position and duration in seconds, loop = { on, start, end }, and setLoop(on, start, end).

/** Loop from here to the loop's end, or to the sound's where that is less than `least` seconds away. */
export function loopFromHere(player, least) {
  const { position, duration, loop } = player;
  player.setLoop(true, position, position < loop.end - least ? loop.end : duration);
}

/** Loop from the loop's start, or from the sound's where that is less than `least` seconds away, to here. */
export function loopToHere(player, least) {
  const { position, loop } = player;
  player.setLoop(true, loop.start < position - least ? loop.start : 0, position);
}
