
const controls = document.querySelectorAll("[data-filter]");
const filter = () => {
  const wanted = {};
  for (const control of controls) wanted[control.dataset.filter] = control.value.trim().toLowerCase();
  for (const table of document.querySelectorAll("table[data-model]")) {
    let left = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.dataset.method.toLowerCase().includes(wanted.method);
      left += !row.hidden;
    }
    const fits = name => !wanted[name] || table.dataset[name].toLowerCase() === wanted[name];
    table.hidden = !left || !["model", "data", "eps", "suite"].every(fits);
  }
};
for (const control of controls) control.addEventListener("input", filter);
filter();
