// Numbers and states in words.

import { clock } from "./clock.js";

/** Minutes and seconds to a hundredth, for places in a song. */
export function exact(seconds) {
  const hundredths = Math.round(100 * seconds);
  return `${clock(Math.floor(hundredths / 100))}.${String(hundredths % 100).padStart(2, "0")}`;
}

/** How long, roughly. */
export function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

/** What a song waits for, or what came of it. */
export function state(job) {
  const percent = `${Math.floor(100 * job.progress)} %`;
  const left = job.eta_seconds === null ? "" : `, ${about(job.eta_seconds)} left`;
  if (job.state === "reading") return "Reading the file";
  if (job.state === "queued") return job.position === 0 ? `Next in the queue${left}` : `${job.position} before it in the queue${left}`;
  if (job.state === "separating") return `${job.order?.stretch ? "Renewing a part" : "Separating"}, ${percent}${left}`;
  if (job.state === "done") return job.error ?? "Ready";
  if (job.state === "cancelled") return "Cancelled";
  return job.error ?? "It failed";
}

export function isActive(job) {
  return ["reading", "queued", "separating"].includes(job.state);
}

/** The name of a song without the suffix of its file. */
export function title(job) {
  return job.name.replace(/\.[A-Za-z0-9]{1,5}$/, "") || job.name;
}

/** Decibels of a gain, with its sign. */
export function decibels(gain) {
  const value = 20 * Math.log10(gain);
  return `${value < -0.05 ? "−" : value > 0.05 ? "+" : ""}${Math.abs(value).toFixed(1)} dB`;
}
