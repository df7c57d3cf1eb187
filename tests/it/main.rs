mod sheet;
