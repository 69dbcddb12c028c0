// Tables sort by data-v where a cell has it, cells without a value last.
for (const th of document.querySelectorAll('thead th')) th.addEventListener('click', () => {
  const table = th.closest('table'), body = table.tBodies[0], column = th.cellIndex;
  const order = th.dataset.order === '1' ? -1 : 1;
  for (const other of table.querySelectorAll('th')) delete other.dataset.order;
  th.dataset.order = order;
  const value = row => { const c = row.cells[column]; return c.dataset.v === undefined ? c.textContent : c.dataset.v; };
  const rows = Array.from(body.rows).sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === '' || y === '') return (x === '') - (y === '');
    const n = Number(x) - Number(y);
    return order * (Number.isNaN(n) ? x.localeCompare(y, undefined, {numeric: true}) : n);
  });
  body.append(...rows);
});
// One player at a time; another one of the same track goes on from where the last one was.
for (const audio of document.querySelectorAll('audio')) audio.addEventListener('play', () => {
  for (const other of document.querySelectorAll('audio')) {
    if (other === audio || other.paused) continue;
    if (other.closest('.players') === audio.closest('.players')) audio.currentTime = other.currentTime;
    other.pause();
  }
});
